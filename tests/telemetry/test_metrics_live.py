"""`/metrics` of real brokers, compared with the clients' counts, the names in dashboards, and Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from kafka_cy import Broker
from kafka_cy.telemetry.partition_metrics import label_value
from tests.waiting import wait_until

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs" / "metrics.md"
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    config = {
        "kafkacy.metrics.persec.enable": "false",
        "kafkacy.slow.request.log.threshold.ms": "-1",
        "num.network.threads": "3",
        "log.cleaner.backoff.ms": "100",
    }
    with Broker(config) as running:
        yield running


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed (Debian: prometheus)")
    return found


def page(broker: Broker, path: str = "/metrics", accept: str = "") -> str:
    request = urllib.request.Request(broker.metrics_url.replace("/metrics", path), headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def values(broker: Broker) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(page(broker))
        for sample in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def total(found: Values, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(number for (each, all_labels), number in found.items() if each == name and wanted <= set(all_labels))


def create(broker: Broker, topic: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for future in admin.create_topics([NewTopic(topic, 3, 1, config=config)]).values():
        future.result(60)


class Statistics:
    """The requests that librdkafka sent, by API name, from its own statistics at the end of a client."""

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.messages = 0

    def __call__(self, text: str) -> None:
        found = json.loads(text)
        self.requests = {}
        for each in found["brokers"].values():
            for name, count in each.get("req", {}).items():
                self.requests[name] = self.requests.get(name, 0) + count
        self.messages = found["txmsgs"]


def test_produced_and_consumed_agree_exactly_with_the_client(broker: Broker) -> None:
    create(broker, "agree")
    before = values(broker)
    statistics = Statistics()
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "client.id": "agree",
            "linger.ms": 5,
            "statistics.interval.ms": 100,
            "stats_cb": statistics,
        }
    )
    delivered: list[int] = []
    for i in range(5000):
        producer.produce(
            "agree", b"%d" % i, b"k%d" % i, on_delivery=lambda error, message: delivered.append(message.partition())
        )
        producer.poll(0)
    producer.flush(60)
    assert len(delivered) == 5000
    wait_until(lambda: producer.poll(0.1) or statistics.messages == 5000, "statistics")
    after = before

    def grown(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    def all_counted() -> bool:
        """Wait for a count: a client may receive a response a moment before it is counted."""
        nonlocal after
        after = values(broker)
        return grown("kafka_network_requestmetrics_totaltimems_count", request="Produce") == statistics.requests["Produce"]

    wait_until(all_counted, "the last answer")

    for labels in ({"topic": "agree"}, {}):
        assert (
            value(after, "kafka_server_brokertopicmetrics_messagesin_total", **labels)
            - value(before, "kafka_server_brokertopicmetrics_messagesin_total", **labels)
            == 5000
        )
    requests = grown("kafka_network_requestmetrics_requests_total", request="Produce")
    assert requests == statistics.requests["Produce"]
    assert value(after, "kafka_server_brokertopicmetrics_totalproducerequests_total", topic="agree") >= requests
    assert grown("kafka_network_requestmetrics_errors_total", request="Produce", error="NONE") >= requests
    assert grown("kafka_network_requestmetrics_remotetimems_count_total", request="Produce") == requests
    sizes = [value(after, "kafka_log_log_size", topic="agree", partition=str(i)) for i in range(3)]
    assert value(after, "kafka_server_brokertopicmetrics_bytesin_total", topic="agree") == sum(sizes)
    for i in range(3):
        assert value(after, "kafka_log_log_logendoffset", topic="agree", partition=str(i)) == delivered.count(i)
    assert (
        total(after, "kafka_server_socketservermetrics_connections", client_software_name="confluent-kafka-python") >= 1
    )

    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "agree", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition("agree", i, 0) for i in range(3)])
    got = 0
    while got < 5000:
        got += len(consumer.consume(5000 - got, 5))
    consumed = values(broker)
    assert value(consumed, "kafka_server_brokertopicmetrics_bytesout_total", topic="agree") >= sum(sizes)
    consumer.close()
    wait_until(
        lambda: (
            value(
                values(broker),
                "kafka_server_delayedoperationpurgatory_purgatorysize",
                delayedOperation="Fetch",
                delayedoperation="Fetch",
            )
            == 0
        ),
        "parked fetches to be dropped",
    )


def test_refused_batches_are_counted(broker: Broker) -> None:
    create(broker, "strict", **{"cleanup.policy": "compact", "max.message.bytes": "2000"})
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.max.bytes": 1_000_000, "retries": 0})
    errors = []
    for key, size in ((None, 10), (b"k", 5000), (b"k", 10)):
        producer.produce("strict", b"x" * size, key, partition=0, on_delivery=lambda error, _: errors.append(error))
        producer.flush(60)
    assert [error is None for error in errors] == [False, False, True]
    found = values(broker)
    prefix = "kafka_server_brokertopicmetrics_"
    assert value(found, prefix + "nokeycompactedtopicrecords_total") == 1
    assert value(found, prefix + "bytesrejected_total", topic="strict") > 5000
    assert value(found, prefix + "totalproducerequests_total", topic="strict") == 3
    assert value(found, prefix + "failedproducerequests_total", topic="strict") == 1
    assert value(found, prefix + "messagesin_total", topic="strict") == 1
    assert total(found, "kafka_network_requestmetrics_errors_total", request="Produce", error="INVALID_RECORD") == 1
    assert total(found, "kafka_network_requestmetrics_errors_total", request="Produce", error="MESSAGE_TOO_LARGE") == 1


def test_the_cleaner_shows_its_work(broker: Broker) -> None:
    config = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create(broker, "cleaned", **config)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "linger.ms": 0})

    sizes = [0.0]

    def shrinks() -> bool:
        """Whether the log became smaller although another value of its only key was appended."""
        producer.produce("cleaned", b"x" * 1000, b"key", partition=0)
        producer.flush(20)
        sizes.append(value(values(broker), "kafka_log_log_size", topic="cleaned", partition="0"))
        return sizes[-1] < sizes[-2]

    wait_until(shrinks, "a cleaned log")
    found = values(broker)
    assert 0 < value(found, "kafka_log_logcleaner_cleaner_recopy_percent") < 100
    for name in ("max_clean_time_secs", "max_buffer_utilization_percent", "max_compaction_delay_secs", "deadthreadcount"):
        assert (f"kafka_log_logcleaner_{name}", ()) in found
    assert value(found, "kafka_log_logcleaner_deadthreadcount") == 0
    assert 0 <= value(found, "kafka_log_logcleanermanager_time_since_last_run_ms") < 60_000
    assert ("kafka_log_logcleanermanager_max_dirty_percent", ()) in found
    assert total(found, "kafka_log_logcleanermanager_uncleanable_partitions_count") == 0


def test_sums_over_all_topics_outlive_a_deleted_topic(broker: Broker) -> None:
    create(broker, "shortlived")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    producer.produce("shortlived", b"x" * 100)
    producer.flush(60)
    before = values(broker)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.delete_topics(["shortlived"])["shortlived"].result(60)
    wait_until(lambda: 'topic="shortlived"' not in page(broker), "the topic's end")
    for name in ("messagesin", "bytesin", "totalproducerequests"):
        name = f"kafka_server_brokertopicmetrics_{name}_total"
        assert value(values(broker), name) >= value(before, name) > 0


def test_sizes_of_the_log_directory_are_those_of_describe_log_dirs(broker: Broker) -> None:
    found = values(broker)
    (folder,) = {dict(labels)["log_directory"] for name, labels in found if name == "kafkacy_log_dir_total_bytes"}
    disk = os.statvfs(folder)
    assert value(found, "kafkacy_log_dir_total_bytes", log_directory=folder) == disk.f_blocks * disk.f_frsize
    assert 0 < value(found, "kafkacy_log_dir_usable_bytes", log_directory=folder) < disk.f_blocks * disk.f_frsize


def shown_names(broker: Broker) -> tuple[set[str], str]:
    """The names on the page, and the page, of a broker with a partition and a client."""
    connected = Producer({"bootstrap.servers": broker.bootstrap_servers})
    connected.produce("known", b"a topic and a client that stays connected")
    connected.flush(60)
    text = page(broker)
    return {sample.name for family in parse_text(text) for sample in family.samples}, text


def test_every_known_name_is_there_or_the_table_says_why(broker: Broker) -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", DOCS.read_text(), re.MULTILINE))
    assert sorted(table) == (HERE / "known_names.txt").read_text().split()
    shown, _ = shown_names(broker)
    wrong = [name for name, status in table.items() if (status == "yes") != (name in shown)]
    sometimes = ("when a log is compacted", "when a client has a quota")
    assert [name for name in wrong if not table[name].startswith(sometimes)] == []
    with Broker() as both_dialects:
        shown, text = shown_names(both_dialects)
    assert [name for name, status in table.items() if status in ("yes", "persec") and name not in shown] == []
    assert not [name for name, status in table.items() if status.startswith("never") and name in shown]
    assert re.search(r'^kafka_network_requestmetrics_totaltimems\{request="Produce"\} \d+$', text, re.MULTILINE)


def test_what_a_single_broker_knows_of_its_cluster(broker: Broker) -> None:
    found = values(broker)
    for name in ("isrshrinkspersec", "isrexpandspersec"):
        assert found[f"kafka_server_replicamanager_{name}", ()] == 0
    assert found["kafka_controller_controllerstats_uncleanleaderelectionspersec", ()] == 0
    for prefix in ("kafka_server_raftmetrics_", "kafka_server_raft_metrics_"):
        assert found[prefix + "current_leader", ()] == found[prefix + "current_vote", ()] == 1
        assert found[prefix + "current_epoch", ()] >= 1
        assert found[prefix + "high_watermark", ()] == found[prefix + "log_end_offset", ()] > 0
        assert value(found, prefix + "current_state", state="leader", current_state="leader") == 1


def test_the_log_cleaner_is_known_before_anything_is_compacted() -> None:
    with Broker() as fresh:
        found = values(fresh)
    assert found["kafka_log_logcleaner_deadthreadcount", ()] == 0
    assert found["kafka_log_logcleanermanager_time_since_last_run_ms", ()] > 0
    assert total(found, "kafka_log_logcleanermanager_uncleanable_bytes") == 0


def test_socket_servers_count_what_they_send_and_receive(broker: Broker) -> None:
    client = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    client.list_topics(timeout=60)
    prefix = "kafka_server_socketservermetrics_"

    def agree() -> bool:
        """A page in whose making no request came: the counters are read one after the other."""
        found = values(broker)
        counted = "kafka_network_requestmetrics_requests_total"
        requests = total(found, counted) - total(found, counted, request="Fetch")
        received, sent = total(found, prefix + "request_total"), total(found, prefix + "response_total")
        same = total(found, prefix + "incoming_byte_total") == total(found, "kafkacy_network_bytes_in_total") > 0
        return same and 0 < received <= sent <= requests

    wait_until(agree, "the counters of a quiet moment")
    found = values(broker)
    assert total(found, prefix + "outgoing_byte_total") > 0
    assert total(found, prefix + "select_total") > 0
    busy = total(found, prefix + "io_ratio") + total(found, prefix + "io_wait_ratio")
    assert busy == pytest.approx(3)  # three reactors


def test_fetch_sessions_and_standing_fetches_are_shown(broker: Broker) -> None:
    """librdkafka has no sessions. What is counted, and when, is in api_hot/test_fetch_standing."""
    found = values(broker)
    names = ("kafkacy_standing_fetch_bytes", *(f"kafkacy_standing_fetches_{each}_total" for each in ("built", "taken", "refused")))
    assert {found[name, ()] for name in (*names, "kafkacy_fetch_session_bytes")} == {0}
    assert all(f"`{name}`" in DOCS.read_text() for name in names)


def test_both_formats_parse_and_no_family_comes_twice(broker: Broker) -> None:
    text = page(broker)
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(names) == len(set(names)) > 150
    openmetrics = page(broker, accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert openmetrics.endswith("# EOF\n")
    assert len(list(parse_openmetrics(openmetrics))) == len(list(parse_text(text)))
    assert not page(broker, accept="text/plain;version=0.0.4,application/openmetrics-text;q=0.2").endswith("# EOF\n")
    assert set(re.findall(r'quantile="([^"]*)"', text)) == {"0.50", "0.75", "0.95", "0.98", "0.99", "0.999"}


def test_promtool_finds_only_the_oddities_of_kafkas_names(broker: Broker) -> None:
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=page(broker), capture_output=True, text=True, check=False
    )
    text = checked.stdout + checked.stderr
    known = r'("quantile" label|snake_case|"_count" suffix|"_total" suffix|abbreviated units|camelCase|non-counter|should not end)'
    odd = [line for line in text.splitlines() if line.strip() and not re.search(known, line)]
    assert odd == []
    assert checked.returncode in (0, 3)  # 1: the page cannot be parsed


@pytest.mark.parametrize(
    "raw", [b'quote " back \\ slash \n newline', b"\xff\xfe\xc3", "naïve ✓ 𝄞".encode(), b"\xed\xa0\x80", b"", b"\0\x7f"]
)
def test_any_label_value_is_valid(raw: bytes) -> None:
    text = f'# TYPE x gauge\nx{{a="{label_value(raw).decode()}"}} 1\n'
    ((family,),) = [list(parse_text(text))]
    assert family.samples[0].labels["a"] == raw.decode(errors="replace")


def test_health_ready_and_threads(broker: Broker) -> None:
    assert page(broker, "/health").startswith("ok: running")
    assert page(broker, "/ready") == "ready\n"
    threads = page(broker, "/debug/threads")
    assert len(re.findall(r"^reactor-\d: (waiting|handling|receiving|sending)", threads, re.MULTILINE)) == 3
    assert "control thread: " in threads
    assert "Python thread MainThread" in threads
    with pytest.raises(urllib.error.HTTPError) as failure:
        page(broker, "/nothing")
    assert failure.value.code == 404


def test_page_for_the_browser(broker: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    create(broker, "on-the-page")
    topics = admin.list_topics(timeout=60).topics
    home = page(broker, "/")
    assert home.startswith("<!DOCTYPE html>")
    rows = dict(re.findall(r"<tr><th>(.+?)</th><td>(.*?)</td></tr>", home))
    text = {name: re.sub("<.*?>", "", cell) for name, cell in rows.items()}
    assert text["State"] == "running"
    assert text["Cluster id"] == admin.describe_cluster().result(60).cluster_id
    assert text["Clients connect to"] == f"{broker.bootstrap_servers} (PLAINTEXT)"
    assert text["Topics"] == f"{len(topics)} with {sum(len(topic.partitions) for topic in topics.values())} partitions"
    assert text["Offline partitions"] == "0" and "Failed log directories" not in text
    assert text["Log directories"] == str(broker.data_dir)
    assert re.fullmatch(r"(\d+ min )?\d+ s", text["Up for"])
    links = re.findall('<a href="(.+?)"', home)
    assert broker.lag_url in links and "/metrics" in links
    for link in links:
        if link.startswith("/"):
            assert page(broker, link), link
    assert f"<code>kafka-cy top -b {broker.bootstrap_servers}</code>" in home
    assert "<script" not in home and "src=" not in home


@pytest.mark.parametrize("host", ["a.b:9404", "[::1]:9404", 'x"><script>:1', "", "a b"])
def test_page_for_the_browser_does_not_trust_the_host_header(broker: Broker, host: str) -> None:
    url = broker.metrics_url.replace("/metrics", "/")
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=60) as answer:
        home = answer.read().decode()
    assert "<script" not in home
    expected = host.rpartition(":")[0] if host in ("a.b:9404", "[::1]:9404") else "127.0.0.1"
    assert f'href="http://{expected}:{broker.lag_port}/metrics"' in home


def test_slow_requests_are_logged_with_where_their_time_went() -> None:
    with Broker({"kafkacy.slow.request.log.threshold.ms": "0"}) as slow:
        admin = AdminClient({"bootstrap.servers": slow.bootstrap_servers, "client.id": "slow-one"})
        admin.create_topics([NewTopic("first", 1, 1)])["first"].result(60)  # its first use imports the messages
        wait_until(lambda: slow_line(slow), "the log's line")
        line = slow_line(slow)
    assert re.search(
        r"client id [\w-]+: [\d.]+ ms: request queue [\d.]+, local [\d.]+, remote [\d.]+, response queue [\d.]+", line
    )
    assert "client=127.0.0.1:" in line


def test_connections_that_wait_for_the_creation_rate() -> None:
    """What Kafka's ConnectionQuotas count: max.connection.creation.rate is not exceeded in silence."""
    with Broker({"max.connection.creation.rate": "10"}) as limited:
        clients = [socket.create_connection(("127.0.0.1", limited.port), timeout=60) for _ in range(20)]
        accepted = "kafkacy_connections_accepted_total"
        wait_until(lambda: total(values(limited), accepted) >= len(clients), "all are accepted in the end")
        found = values(limited)
        for prefix in ("kafka_server_socketservermetrics_", "kafka_server_socket_server_metrics_"):
            for name in ("connection_accept_rate", "connection_accept_throttle_time"):
                assert (prefix + name, (("listener", "PLAINTEXT"),)) in found
            assert (prefix + "broker_connection_accept_rate", ()) in found
        assert total(found, "kafka_network_acceptor_acceptorblockedpercent_count", listener="PLAINTEXT") > 0
        for each in clients:
            each.close()


def slow_line(broker: Broker) -> str:
    lines = [line for line in broker.log_text().splitlines() if "slow request of client id slow-one" in line]
    return next((line for line in lines if "api_key=19" in line), "")


def test_prometheus_scrapes_and_answers(broker: Broker, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: kafka\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{broker.metrics_port}']}}]\n"
    )
    command = [tool("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def query(expression: str) -> list[dict[str, object]]:
        text = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{text}", timeout=60) as answer:
                return list(json.load(answer)["data"]["result"])
        except OSError:
            return []

    try:
        wait_until(lambda: query('up{job="kafka"} == 1'), "a scrape")
        for expression in (
            'sum(rate(kafka_server_brokertopicmetrics_messagesin_total{topic!=""}[1m]))',
            'kafka_server_brokertopicmetrics_bytesin_total{topic=""}',
            'kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.999"}',
            "100 - rate(kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_count[1m]) / 10000000",
            "kafka_server_kafkaserver_brokerstate == 3",
            "sum by (topic) (kafka_log_log_size)",
            "kafka_controller_kafkacontroller_activecontrollercount == 1",
            'kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation="Fetch"}',
        ):
            wait_until(lambda expression=expression: query(expression), expression)
    finally:
        running.terminate()
        running.wait(60)


def test_groups_are_counted_by_kind_and_state(broker: Broker) -> None:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "k848", "group.protocol": "consumer"})
    consumer.subscribe(["^no-such-topic.*"])
    prefix = "kafka_server_group_coordinator_metrics_"

    def counted() -> bool:
        consumer.poll(0.1)
        found = values(broker)
        return (
            value(found, prefix + "group_count", protocol="consumer") == 1
            and value(found, prefix + "consumer_group_count", state="Stable") == 1
        )

    wait_until(counted, "the group is stable")
    consumer.close()
    found = values(broker)
    assert value(found, prefix + "consumer_group_count", state="Empty") == 1
    assert value(found, prefix + "consumer_group_rebalance_count_total") >= 1


def test_commits_and_rebalances_of_classic_groups_are_counted(broker: Broker) -> None:
    prefix = "kafka_server_group_coordinator_metrics_"
    before = values(broker)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic("counted", 2)])["counted"].result(60)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "counted", "enable.auto.commit": False})
    consumer.subscribe(["counted"])
    wait_until(lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == 2, "an assignment")
    for offset in (1, 2):
        consumer.commit(offsets=[TopicPartition("counted", index, offset) for index in (0, 1)], asynchronous=False)
    consumer.close()
    after = values(broker)
    for name, count in (("offset_commit", 4), ("group_completed_rebalance", 1), ("offset_expiration", 0), ("offset_deletion", 0)):
        for suffix in ("_count", "_count_total"):
            assert value(after, prefix + name + suffix) - value(before, prefix + name + suffix) == count, name
        assert value(after, prefix + name + "_rate") >= 0


def test_the_coordinators_thread_and_runtimes_are_shown(broker: Broker) -> None:
    create(broker, "shown")
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "shown", "enable.auto.commit": False})
    consumer.subscribe(["shown"])
    wait_until(lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == 3, "an assignment")
    consumer.close()
    group = "kafka_server_group_coordinator_metrics_"
    found = values(broker)
    assert value(found, group + "num_partitions", state="active") >= 1
    assert value(found, group + "num_partitions", state="loading") == value(found, group + "num_partitions", state="failed") == 0
    assert ("kafka_server_share_coordinator_metrics_num_partitions", (("state", "active"),)) in found
    assert (group + "event_queue_size", ()) in found and 0 <= value(found, group + "thread_idle_ratio_avg") <= 1
    for name in ("event_queue_time_ms_max", "event_processing_time_ms_p50", "batch_flush_time_ms_p999"):
        assert value(found, group + name) > 0, name
    assert ("kafka_server_addpartitionstotxnmanager_verificationtimems_count", ()) in found


def test_share_groups_and_streams_groups_are_counted(broker: Broker) -> None:
    found = values(broker)
    prefix = "kafka_server_group_coordinator_metrics_"
    assert value(found, prefix + "streams_group_count", state="NotReady") == 0
    assert value(found, prefix + "streams_group_rebalance_count_total") == 0
    assert value(found, prefix + "group_count", protocol="share") == 0
    assert value(found, prefix + "share_group_count", state="Stable") == 0
    assert value(found, "kafka_server_sharesessioncache_sharesessionscount") == 0
