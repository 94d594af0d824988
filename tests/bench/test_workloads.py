"""Short runs of every workload against a live broker with both generators, and their failures."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from kafka_cy.bench import results, workloads
from kafka_cy.bench.bench_topic import bench_topic, offsets
from kafka_cy.bench.brokers import Attached, BrokerError, Floor, OwnBroker
from kafka_cy.bench.compare import GROUPS
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import NoProgress
from kafka_cy.bench.native_load import NativeLoad
from kafka_cy.bench.payloads import Payloads
from kafka_cy.bench.requests import produce_head
from kafka_cy.bench.workloads import recovery, start
from kafka_cy.testing.broker import Broker

SHORT = LoadOptions(duration_s=0.5, warm_up_s=0.1, partitions=2, producers=2, consumers=2, fill_bytes=2_000_000)
OF_WORKLOAD: dict[str, dict[str, Any]] = {
    "end-to-end": {"batch_records": 1},
    "many-partitions": {"partitions": 20, "batch_records": 1},
    "many-connections": {"producers": 20, "batch_records": 1, "in_flight": 1, "idle_connections": 10},
    "groups": {"groups": 3, "in_flight": 1},
    "transactions": {"batch_records": 10},
    "group-members": {"members": 20, "warm_up_s": 0.0},
    "idle-members": {"groups": 2, "members": 10, "batch_records": 1, "throughput": 200.0},
}
BY_EITHER = workloads.LOADS[: workloads.LOADS.index("transactions")]
BY_ITSELF = workloads.LOADS[len(BY_EITHER) :]


@pytest.fixture(scope="module")
def target() -> Iterator[OwnBroker]:
    broker = OwnBroker(GROUPS)
    yield broker
    broker.stop()


def short(workload: str, **changes: Any) -> LoadOptions:
    return dataclasses.replace(SHORT, **{**OF_WORKLOAD.get(workload, {}), **changes})


@pytest.mark.parametrize(
    ("workload", "generator"),
    [(workload, generator) for workload in BY_EITHER for generator in ("native", "librdkafka")]
    + [(workload, "native") for workload in BY_ITSELF],
)
def test_a_short_run_counts_what_it_did(target: OwnBroker, workload: str, generator: Any) -> None:
    changes: dict[str, Any] = {"duration_s": 2.0} if generator == "librdkafka" else {}
    if (workload, generator) == ("groups", "librdkafka"):  # the first member rejoins at a heartbeat
        changes = {"duration_s": 5.0, "consumer_properties": {"heartbeat.interval.ms": "100"}}
    options = short(workload, generator=generator, **changes)
    run = workloads.run(workload, target, options)
    if run.totals.requests + run.totals.records == 0:  # a machine that is busy with other work
        run = workloads.run(workload, target, dataclasses.replace(options, duration_s=20.0))
    assert (run.outcome, run.error) == ("completed", None)
    totals = run.totals
    assert totals.errors == 0
    if (workload, generator) != ("groups", "librdkafka"):  # nothing writes to the topic there: members join and wait
        assert totals.requests > 0
    assert (totals.records > 0) == (workload not in ("groups", "idle-members"))
    assert totals.broker_cpu_s is not None and totals.rss_bytes_max
    for name in ("requests", "records", "bytes", "errors"):
        assert sum(getattr(sample, name) for sample in run.samples) == getattr(totals, name)
    if (workload, generator) == ("consume", "librdkafka"):
        assert run.latency is None
    else:
        assert run.latency is not None
        assert run.latency.count == sum(count for _, count in run.latency.buckets) > 0
    results.from_json(json.loads(json.dumps(dataclasses.asdict(run.totals))) and _file(run))


def test_members_of_a_consumer_group_join(target: OwnBroker) -> None:
    run = workloads.run("group-members", target, short("group-members", group_protocol="consumer"))
    assert (run.outcome, run.error) == ("completed", None) and run.totals.records == 20 * run.totals.requests > 0


@pytest.mark.parametrize("kind", ["static", "regex", "share", "streams"])
def test_idle_members_of_each_kind(target: OwnBroker, kind: Any) -> None:
    run = workloads.run("idle-members", target, short("idle-members", groups=1, member_kind=kind))
    assert (run.outcome, run.error, run.totals.errors) == ("completed", None, 0) and run.totals.requests > 0


def _file(run: results.Run) -> Any:
    machine = results.Machine("cpu", 1, 1, "kernel")
    return json.loads(results.to_json(results.Results("run", "2026-01-01T00:00:00Z", ["x"], machine, {}, [run])))


@pytest.mark.parametrize(("compression", "idempotent"), [("none", False), ("lz4", False), ("none", True)])
def test_native_records_reach_the_log_as_they_were_made(target: OwnBroker, compression: str, idempotent: bool) -> None:
    payloads = Payloads(record_size=50, random_bytes_ratio=0.5, key_distribution="round-robin", keys=3)
    topic = f"exact-{compression}-{idempotent}"
    options = dataclasses.replace(
        SHORT, topic=topic, warm_up_s=0.0, duration_s=60.0, batch_records=10, num_records=1000, payloads=payloads,
        compression=compression, throughput=20_000.0, idempotent=idempotent,
    )  # fmt: skip
    run = workloads.run("produce", target, options)
    assert (run.outcome, run.totals.records, run.totals.requests) == ("completed", 1000, 100)
    for partition in range(2):
        batch = (target.data_dir / f"{topic}-{partition}" / f"{0:020}.log").read_bytes()
        (producer_id,) = struct.unpack_from(">q", batch, 43)
        assert (producer_id >= 0) == idempotent
    with bench_topic(target, options) as made:
        starts, ends = offsets(target, made)
    assert (starts, sum(ends)) == ([0, 0], 1000)
    consumer = Consumer({"bootstrap.servers": target.bootstrap_servers, "group.id": "x", "check.crcs": True})
    consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(2)])
    read = []
    while len(read) < 1000:
        read += [(message.key(), len(message.value() or b"")) for message in consumer.consume(1000, timeout=1)]
    consumer.close()
    assert {key for key, _ in read} == {b"00000000", b"00000001", b"00000002"}
    assert {size for _, size in read} == {50}


def test_consume_reads_exactly_what_is_there(target: OwnBroker) -> None:
    options = dataclasses.replace(
        SHORT, topic="read-me", warm_up_s=0.0, batch_records=10, num_records=400, partitions=1
    )
    workloads.run("produce", target, dataclasses.replace(options, duration_s=60.0))
    for fetch_bytes in (1, 2000, 1_000_000):
        chosen = dataclasses.replace(options, fetch_bytes=fetch_bytes, duration_s=60.0, consumers=1)
        run = workloads.run("consume", target, chosen)
        assert run.outcome == "completed"
        assert run.totals.records == 400  # batches are not split, so the count is a multiple of a batch


def requests_of(url: str, request: str) -> float:
    """The number of requests of an API that the broker has handled, by its own counters."""
    with urlopen(url, timeout=10) as page:
        metrics = list(text_string_to_metric_families(page.read().decode()))
    samples = [sample for metric in metrics for sample in metric.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "kafka_network_requestmetrics_requests_total" and sample.labels.get("request") == request
    )


@pytest.mark.parametrize(("throughput", "in_flight"), [(None, 32), (2000.0, 1000)], ids=["32 in flight", "paced"])
def test_requests_are_those_that_the_broker_has_counted(throughput: float | None, in_flight: int) -> None:
    with Broker() as broker:
        target = Attached(broker.bootstrap_servers, {})
        options = dataclasses.replace(
            SHORT, warm_up_s=0.0, batch_records=1, in_flight=in_flight, throughput=throughput, duration_s=0.5
        )
        run = workloads.run("produce", target, options)
        assert (run.outcome, run.error) == ("completed", None)
        assert run.totals.requests == run.totals.records == requests_of(broker.metrics_url, "Produce")
        if throughput:
            assert run.totals.requests == throughput * options.duration_s
        before = requests_of(broker.metrics_url, "Fetch")
        read = dataclasses.replace(options, throughput=None, in_flight=1)
        run = workloads.run("consume", target, read)
        assert run.outcome == "completed"
        assert run.totals.requests == requests_of(broker.metrics_url, "Fetch") - before > 0


def test_refusals_are_counted_by_their_code(target: OwnBroker) -> None:
    options = dataclasses.replace(SHORT, topic_config={"max.message.bytes": "100"})
    run = workloads.run("produce", target, options)
    assert run.outcome == "failed"
    assert run.error == f"{run.totals.errors} of {run.totals.requests} requests got the error MESSAGE_TOO_LARGE."
    assert run.totals.errors == run.totals.requests > 0
    assert run.totals.records == 0


def test_what_does_not_fit_is_a_sentence(target: OwnBroker) -> None:
    with pytest.raises(OptionError, match=r"Topic nowhere does not exist\."):
        workloads.run("consume", target, dataclasses.replace(SHORT, topic="nowhere"))
    with pytest.raises(OptionError, match="supports only PLAINTEXT"):
        secure = dataclasses.replace(SHORT, producer_properties={"security.protocol": "SSL"})
        workloads.run("produce", target, secure)
    with pytest.raises(OptionError, match=r"needs security\.protocol=SSL"):
        workloads.run("handshakes", target, short("produce"))
    with pytest.raises(OptionError, match="at most 200 clients"):
        workloads.run("produce", target, dataclasses.replace(SHORT, generator="librdkafka", producers=201))


# -- brokers that are slow, silent or dead --


class SlowBroker:
    """Answers Produce v7 of topic "t" for `answers` requests, and then stays silent."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while head := connection.recv(12, socket.MSG_WAITALL):
                size, _, _, correlation_id = struct.unpack(">ihhi", head)
                connection.recv(size - 8, socket.MSG_WAITALL)
                if self.answers:
                    self.answers -= 1
                    body = struct.pack(">iih1siihqqqi", correlation_id, 1, 1, b"t", 1, 0, 0, 0, -1, 0, 0)
                    connection.sendall(struct.pack(">i", len(body)) + body)


def produce_at_a_rate(broker: SlowBroker, **options: Any) -> NativeLoad:
    load = NativeLoad(duration_s=0.5, rate_per_s=100, **options)
    load.add_produce(broker.address, "t", [0], [b"x" * 70], records=1, depth=4)
    load.run()
    return load


def test_a_paced_load_sends_what_is_due_no_more_no_less() -> None:
    load = produce_at_a_rate(SlowBroker(answers=1000))
    request_bytes = len(produce_head("t", 1, 30_000).data) + 70
    assert (load.status, load.counters(), load.unanswered) == ("done", (50, 50, 50 * request_bytes, 0), 0)
    assert load.histogram().count == 50


def test_requests_that_were_due_to_a_stalled_broker_count_with_their_wait() -> None:
    """No coordinated omission: four requests stay in flight, the others could not be sent, and all were due."""
    load = produce_at_a_rate(SlowBroker(answers=10), drain_timeout_s=2.0)
    requests, _, _, errors = load.counters()
    assert (load.status, requests, load.unanswered, errors) == ("done", 10, 40, 40)
    histogram = load.histogram()
    assert histogram.count == 50
    # Each waited from its due time to the end of the drain: at least 2 s for the last one that was due.
    assert sum(count for upper_ms, count in histogram.buckets() if upper_ms >= 2000) >= 40


def test_silence_ends_a_closed_loop() -> None:
    load = NativeLoad(duration_s=60, response_timeout_s=2.0)
    load.add_produce(SlowBroker(answers=3).address, "t", [0], [b"x" * 70], records=1)
    load.run()
    assert (load.status, load.counters()[0]) == ("silent", 3)


class KillAt(NoProgress):
    """Kills the broker at the first sample."""

    def __init__(self, broker: OwnBroker) -> None:
        self.broker = broker

    def sample(self, sample: results.Sample) -> None:
        self.broker.kill()


@pytest.mark.crash
@pytest.mark.parametrize("generator", ["native", "librdkafka"])
@pytest.mark.parametrize("workload", ["produce", "consume", "mixed", "groups"])
def test_a_broker_that_dies_is_a_result(workload: str, generator: Any) -> None:
    broker = OwnBroker()
    try:
        run = workloads.run(workload, broker, short(workload, generator=generator, duration_s=60.0), KillAt(broker))
    finally:
        broker.stop()
    assert run.outcome == "broker-died"
    assert run.error is not None and run.error.startswith("The broker died after ")
    assert run.samples and run.totals.broker_cpu_s
    if workload != "groups":
        assert run.totals.records > 0


def test_nobody_there_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BrokerError, match=f"No broker answers at 127.0.0.1:{port}: connection refused"):
        Attached(f"127.0.0.1:{port}", {})
    for wrong in ("nohost", "host:", ":9092", "host:port", "host:70000"):
        with pytest.raises(BrokerError, match="needs HOST:PORT"):
            Attached(wrong, {})


def test_attached_broker_is_sampled_when_it_is_on_this_machine(target: OwnBroker) -> None:
    assert Attached(target.bootstrap_servers, {}).pid == target.pid


# -- lives --


def test_start_measures_each_start() -> None:
    run = start.run(OwnBroker, LoadOptions(starts=2))
    assert (run.outcome, run.totals.requests, len(run.samples)) == ("completed", 2, 2)
    assert run.latency is not None and run.latency.count == 2
    assert run.totals.rss_bytes_max and run.totals.broker_cpu_s


@pytest.mark.crash
def test_recovery_loses_nothing() -> None:
    options = dataclasses.replace(SHORT, starts=2, log_bytes=3_000_000)
    run = recovery.run(OwnBroker, options)
    assert (run.outcome, run.error, run.totals.requests, run.totals.errors) == ("completed", None, 2, 0)
    assert run.totals.bytes >= 2 * 2_900_000


# -- the floor --


def test_the_floor_stores_and_gives_back() -> None:
    for workload in ("produce", "consume"):
        for changes in ({}, {"batch_records": 9000, "fill_bytes": 8_000_000}):
            floor = Floor()  # all batches of one are alike
            try:
                run = workloads.run(workload, floor, short(workload, **changes))
            finally:
                floor.stop()
            assert (run.outcome, run.error, run.totals.errors) == ("completed", None, 0)
            assert run.totals.records > 0


@pytest.mark.parametrize("producers", [1, 3])
def test_the_floor_of_transactions(producers: int) -> None:
    """librdkafka's transactional producers find all that they ask for."""
    floor = Floor()
    try:
        run = workloads.run("transactions", floor, short("transactions", producers=producers))
    finally:
        floor.stop()
    assert (run.outcome, run.error, run.totals.errors) == ("completed", None, 0)
    assert run.totals.records == 10 * run.totals.requests > 0


def test_the_floor_takes_commits() -> None:
    floor = Floor()
    try:
        run = workloads.run("groups", floor, short("groups"))
    finally:
        floor.stop()
    assert (run.outcome, run.error, run.totals.errors) == ("completed", None, 0)
    assert run.totals.requests > 0


def test_the_floor_checks_what_it_stores() -> None:
    floor = Floor()
    try:
        load = NativeLoad(duration_s=60, requests_max=3)
        load.add_produce(("127.0.0.1", floor.port), "t", [0], [b"x" * 100], records=1)
        load.run()
        assert load.error_codes() == {2: 3}  # CORRUPT_MESSAGE
    finally:
        floor.stop()


# -- the command line --


def bench(*arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kafka_cy", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["produce", "--colour"], "No such option"),
        (["produce", "--acks", "2"], "Invalid value for '--acks'"),
        (["produce", "--acks", "0"], "acks=0"),
        (["produce", "--throughput", "fast"], "Invalid value for '--throughput'"),
        (["produce", "--producer-props", "linger.ms"], "--producer-props requires KEY=VALUE"),
        (["produce", "--producer-props", "batch.size=x"], "--producer-props: batch.size cannot be 'x'"),
        (["produce", "--producer-props", "retries=1"], "native generator has no setting retries"),
        (["produce", "--command-property", "security.protocol=SSL"], "supports only PLAINTEXT, not SSL"),
        (["produce", "--payload-file", "/nowhere"], "Payload file /nowhere: No such file"),
        (["produce", "--bootstrap-server", "x:1", "--broker-config", "a=b"], "--broker-config requires a broker that the"),
        (["produce", "--throughput", "-5"], "--throughput must be records per second, or -1"),
        (["produce", "--command-property", "sasl.username=me"], "--command-config require --bootstrap-server"),
        (["produce", "--bootstrap-server", "x:1", "--broker", "apache-kafka"], "--broker apache-kafka requires a broker that the"),
        (["produce", "--json", "/nowhere/x.json"], "the folder /nowhere does not exist"),
        (["tune", "--html", "/nowhere/x.html"], "the folder /nowhere does not exist"),
        (["dance"], "No such command 'dance'"),
        (["compare", "--no-kafka", "--rows", "nothing has this"], "no load has a name that contains"),
        (["scaling", "--curve", "height"], "Invalid value for '--curve'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("kafka-cy bench: ") and done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_the_started_broker_is_named_first() -> None:
    done = bench("produce", "--duration", "0.1", "--warm-up", "0")
    assert done.returncode == 0, done.stderr
    first = "Starting kafka-cy for this run; --bootstrap-server HOST:PORT measures a running broker."
    assert done.stderr.splitlines()[0] == first


def test_a_wrong_command_with_a_suggestion_ends_with_one_mark() -> None:
    assert bench("export").stderr == "kafka-cy bench: No such command 'export'. Did you mean 'report'?\n"


def test_an_unreachable_broker_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = bench("produce", "--bootstrap-server", f"127.0.0.1:{port}")
    assert (done.returncode, done.stderr) == (1, f"kafka-cy: No broker answers at 127.0.0.1:{port}: connection refused.\n")


def test_compare_without_the_jars_says_how_to_get_them(tmp_path: Path) -> None:
    done = bench("compare", "--quick", "--kafka-jars", str(tmp_path))
    assert done.returncode == 1
    assert f"are not in {tmp_path}" in done.stderr and done.stderr.count("\n") == 1


def test_a_run_is_shown_and_written(target: OwnBroker, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    done = bench(
        "produce", "--bootstrap-server", target.bootstrap_servers, "--duration", "0.3", "--warm-up", "0", "--record-size",
        "20", "--json", str(path), "--producer-props", "acks=all", "--label", "mine",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    written = results.load(path)
    [run] = written.runs
    assert (run.label, run.target, run.options["acks"]) == ("mine", target.bootstrap_servers, -1)
    assert run.options["record_size"] == 20
    assert written.machine.load_average_end is not None and written.versions["librdkafka"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_samples_and_ends_the_broker(sent: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    command = [
        sys.executable,
        "-m",
        "kafka_cy",
        "bench",
        "produce",
        "--duration",
        "60",
        "--warm-up",
        "0",
        "--json",
        path,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "requests/s" in line:  # the first sample
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(sent)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    [run] = results.load(path).runs
    assert run.outcome == "interrupted"
    assert run.samples and run.totals.records == sum(sample.records for sample in run.samples) > 0
    assert children and not any(Path(f"/proc/{child}").exists() for child in children)
