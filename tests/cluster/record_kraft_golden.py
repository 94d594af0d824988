"""Records `golden_data/kraft-metadata.tar.gz` again from Apache Kafka 4.3.1: python tests/cluster/record_kraft_golden.py.

It has a snapshot, the log after it, and the output of Kafka's own tools about the cluster at that moment.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "interop"), str(HERE.parent / "records"), str(HERE.parent.parent)]

from apache_kafka import start_apache_kafka, wait_for_answers  # noqa: E402
from java_tools import JavaTools  # noqa: E402
from kafka_settings import AUTHORIZER, make_settings  # noqa: E402

from kafka_cy.testing.broker import free_ports  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

CONFIG = {
    **AUTHORIZER,
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
    "metadata.log.max.snapshot.interval.ms": "6000",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        java = JavaTools(folder / "java.log")
        port, controller_port = free_ports(2)
        process = start_apache_kafka(folder, port, controller_port, CONFIG)
        address = f"127.0.0.1:{port}"
        try:
            wait_for_answers(address)
            make_settings(address, java)
            log = folder / "d1" / "__cluster_metadata-0"
            wait_until(lambda: [f for f in log.glob("*.checkpoint") if not f.name.startswith("0" * 20)], "a snapshot")
            make_more(address)
            described = java.check("TopicCommand", "--bootstrap-server", address, "--describe").out
        finally:
            process.terminate()
            process.wait()
            java.close()
        describe(folder, described)


def make_more(address: str) -> None:
    """Changes after the snapshot."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("late", 1, 1, config={"cleanup.policy": "compact"})])["late"].result(60)
    admin.delete_topics(["changed"])["changed"].result(60)


def describe(folder: Path, described: str) -> None:
    log = folder / "d1" / "__cluster_metadata-0"
    target = HERE / "golden_data"
    target.mkdir(exist_ok=True)
    (target / "kraft-topics.txt").write_text(described)
    with tarfile.open(target / "kraft-metadata.tar.gz", "w:gz") as archive:
        for path in sorted(log.iterdir()):
            if path.suffix in (".log", ".checkpoint"):
                archive.add(path, f"__cluster_metadata-0/{path.name}")
        archive.add(folder / "d1" / "meta.properties", "meta.properties")
    print(json.dumps({path.name: path.stat().st_size for path in log.iterdir()}, indent=1))
    print(described)


if __name__ == "__main__":
    main()
