"""Every query of every board at a real Prometheus that scrapes a real broker under load: it parses, and returns data
unless its panel says when it is empty."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from grafana.queries import PanelQuery, filled, load_boards, panel_queries, variables
from grafana.render.__main__ import board_svg
from kafka_cy.bench import openmetrics, results
from kafka_cy.tools.measure_prometheus import measure_prometheus
from kafka_cy.tools.prometheus import Prometheus
from tests.monitoring.running_stack import RunningStack, wait_for
from tests.monitoring.tools import ROOT

pytestmark = pytest.mark.slow

BOARDS = load_boards()
QUERIES = [query for name, board in BOARDS.items() for query in panel_queries(name, board)]
RATE_INTERVAL = "10s"
BENCH_RESULTS = ROOT / "tests/bench/data/compare.json"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print no line for a scrape."""


@pytest.fixture(scope="module")
def bench_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve a benchmark run as node_exporter's textfile collector would; return the port."""
    folder = tmp_path_factory.mktemp("node")
    openmetrics.export(results.load(BENCH_RESULTS), folder / "bench.prom")
    (folder / "bench.prom").rename(folder / "metrics")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask_clients_for_their_metrics(bootstrap: str) -> None:
    """Create a client metrics subscription (KIP-714) for all metrics, every second."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    settings = {"metrics": "*", "interval.ms": "1000"}
    admin.alter_configs([ConfigResource(ConfigResourceType.CLIENT_METRICS, "all", settings)])
    admin.close()


@contextlib.contextmanager
def demo_load(bootstrap: str) -> Iterator[None]:
    """The demo load as a process."""
    command = [sys.executable, ROOT / "monitoring/demo/load.py", "--bootstrap-server", bootstrap]
    with subprocess.Popen(command) as process:
        yield
        process.terminate()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, bench_metrics: int) -> Iterator[Prometheus]:
    """The stack after some seconds of load, when every lag is known and every rate can be computed."""
    folder = tmp_path_factory.mktemp("stack")
    with (
        RunningStack(folder, "--scrape-interval", "1", "--without", "zookeeper", "--without", "demo") as stack,
        contextlib.ExitStack() as load,
    ):
        ask_clients_for_their_metrics(stack.bootstrap)  # before the clients start, because they ask when they connect
        load.enter_context(demo_load(stack.bootstrap))
        target = folder / "etc/prometheus/etc/prometheus/targets/node.yml"
        target.write_text(f'- targets: ["127.0.0.1:{bench_metrics}"]\n')
        server = Prometheus(stack.prometheus_url)
        for query in (
            "sum(rate(kafka_consumergroup_current_offset[10s])) > 10",
            'kafka_consumergroup_lag{consumergroup="slow-archive"} > 0',
            'increase(kafka_server_brokertopicmetrics_bytesout_total{topic=""}[10s]) > 1000',
            "kafkacy_bench_run_info",
            "count(kafkacy_client_info) > 3",
            "org_apache_kafka_consumer_coordinator_commit_latency_avg > 0",
            "kafka_cluster:kafka_messages_in:rate5m > 0",
        ):
            wait_for(query, lambda query=query: server.instant(query))  # type: ignore[misc]
        yield server


def known_empty(query: PanelQuery) -> bool:
    """Whether the panel states when it has no data."""
    return "Empty " in query.panel.get("description", "")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.name} {query.legend}")
def test_query_returns_data(prometheus: Prometheus, query: PanelQuery) -> None:
    expression = filled(query.expression, variables(BOARDS[query.board]), RATE_INTERVAL)
    series = prometheus.instant(expression)
    assert series or known_empty(query), expression


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_variables_have_choices(prometheus: Prometheus, name: str) -> None:
    for each in BOARDS[name]["templating"]["list"]:
        if each["type"] != "query":
            continue
        selector, _, label = each["query"].removeprefix("label_values(").removesuffix(")").rpartition(",")
        values = variables(BOARDS[name])
        found = prometheus.get(
            f"label/{label.strip()}/values", {"match[]": filled(selector.strip(), values, RATE_INTERVAL)}
        )
        assert found, each["query"]


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_board_can_be_drawn(prometheus: Prometheus, name: str, tmp_path: Path) -> None:
    drawn = board_svg(name, BOARDS[name], prometheus, minutes=0.5, rate_interval=RATE_INTERVAL)
    for panel in BOARDS[name]["panels"]:
        assert escape(panel["title"]) in drawn
    assert drawn.count("no data") <= sum("Empty " in panel.get("description", "") for panel in BOARDS[name]["panels"])


def test_sizing_measures_the_same_cluster(prometheus: Prometheus) -> None:
    found = measure_prometheus(prometheus.url, "10s").values
    assert (found["brokers"], found["replication_factor"]) == (1, 1)
    assert found["messages_per_day"] > 10 * 86_400
    assert 20 < found["message_bytes"] < 2000
    assert found["partitions"] >= 21
    assert found["used_bytes"] > 0
    assert found["disk_bytes"] > found["used_bytes"]
