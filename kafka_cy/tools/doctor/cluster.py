"""Versions, partitions, settings of topics, log directories: what the brokers say about themselves."""

from __future__ import annotations

from typing import Any

from kafka_cy.sizing.units import format_amount
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.cluster import known
from kafka_cy.tools.doctor.check import FAIL, OK, WARN, Check, shortened
from kafka_cy.tools.exposition import Samples
from kafka_cy.tools.raw_client import DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS, RawClient, error_name
from kafka_cy.version import VERSION

FETCH = 1
TOPIC = 2  # ConfigResource.Type
MIN_ISR = "min.insync.replicas"
TOPICS_MAX = 1000  # whose settings are read
DISK_WARN, DISK_FAIL = 0.15, 0.05  # usable part of a disk
OFFLINE_REMEDY = "look at the log of the brokers that host them: a broker or a log directory is down (docs/runbooks.md)"


def check_versions(address: str, metrics: Samples) -> list[Check]:
    """The APIs of a broker, and whether a kafka-cy is as old as these tools. Raises ToolError."""
    with RawClient(address) as client:
        versions = client.api_versions()
    fetch = f" (Fetch up to {versions[FETCH][1]})" if FETCH in versions else ""
    checks = [Check(OK, "versions", f"the broker at {address} supports {len(versions)} APIs{fetch}")]
    running = {labels.get("runtime", "") for labels, _ in metrics.of("jvm_runtime_info")}
    for name in sorted(each for each in running if each.startswith("kafka-cy ")):
        if name == f"kafka-cy {VERSION}":
            checks.append(Check(OK, "versions", f"the broker and these tools are {name}"))
        else:
            text = f"the broker is {name}, these tools are kafka-cy {VERSION}"
            checks.append(Check(WARN, "versions", text, "restart the broker to finish an upgrade"))
    return checks


def check_partitions(metadata: Any) -> list[Check]:
    """Partitions without a leader, and those with too few in-sync replicas."""
    offline, lacking, count = [], [], 0
    for name, topic in sorted(metadata.topics.items()):
        for index, partition in sorted(topic.partitions.items()):
            count += 1
            if partition.leader < 0:
                offline.append(f"{name}-{index}")
            elif len(partition.isrs) < len(partition.replicas):
                lacking.append(f"{name}-{index}")
    if not offline and not lacking:
        return [Check(OK, "partitions", f"all {count:,} have a leader and all their replicas")]
    checks = []
    if offline:
        checks.append(Check(FAIL, "partitions", f"{len(offline):,} are offline: {shortened(offline)}", OFFLINE_REMEDY))
    if lacking:
        text = f"{len(lacking):,} are under-replicated: {shortened(lacking)}"
        checks.append(Check(WARN, "partitions", text, OFFLINE_REMEDY))
    return checks


def check_min_isr(address: str, metadata: Any) -> list[Check]:
    """Topics that need more in-sync replicas than they have: producers with acks=all cannot write. Raises ToolError."""
    replicas = {
        name: min(len(each.replicas) for each in topic.partitions.values())
        for name, topic in sorted(metadata.topics.items())
        if topic.partitions and not name.startswith("__")
    }
    asked = [
        {"resource_type": TOPIC, "resource_name": name, "configuration_keys": [MIN_ISR]}
        for name in [*replicas][:TOPICS_MAX]
    ]
    if not asked:
        return []
    with RawClient(address) as client:
        answer = client.request(DESCRIBE_CONFIGS, {"resources": asked})
    wrong = [
        f"{result.resource_name} ({entry.value}, {replicas[result.resource_name]} replicas)"
        for result in answer.results
        for entry in result.configs
        if not result.error_code and int(entry.value or 0) > replicas[result.resource_name]
    ]
    if not wrong:
        return [Check(OK, "topics", f"{MIN_ISR} can be met by all topics")]
    text = f"{MIN_ISR} is above the number of replicas, acks=all fails: {shortened(wrong)}"
    return [Check(FAIL, "topics", text, f"kafka-cy configs alter --topic TOPIC --set {MIN_ISR}=1")]


def check_log_dirs(number: int, address: str) -> list[Check]:
    """Failed log directories and full disks of one broker. Raises ToolError."""
    with RawClient(address) as client:
        answer = client.request(DESCRIBE_LOG_DIRS, {"topics": None})
    if getattr(answer, "error_code", 0):
        raise ToolError(f"Broker {number} does not describe its log directories: {error_name(answer.error_code)}.")
    checks = []
    for folder in answer.results:
        where = f"{folder.log_dir} of broker {number}"
        if folder.error_code:
            text = f"{where} is offline ({error_name(folder.error_code)})"
            remedy = "repair or replace the disk and restart the broker; its log has the reason"
            checks.append(Check(FAIL, "log directory", text, remedy))
            continue
        total, usable = known(getattr(folder, "total_bytes", -1)), known(getattr(folder, "usable_bytes", -1))
        if total is None or usable is None:
            checks.append(Check(OK, "log directory", f"{where} is online"))
        else:
            checks.append(disk_check(where, total, usable))
    return checks


def disk_check(where: str, total: int, usable: int) -> Check:
    """Whether a disk has room; sizes in bytes."""
    part = usable / total if total else 0.0
    text = f"{where}: {format_amount('bytes', usable)} of {format_amount('bytes', total)} usable ({part:.0%})"
    status = FAIL if part < DISK_FAIL else WARN if part < DISK_WARN else OK
    remedy = (
        ""
        if status == OK
        else "shorten the retention of large topics (kafka-cy log-dirs --partitions), or use a larger disk"
    )
    return Check(status, "disk", text, remedy)
