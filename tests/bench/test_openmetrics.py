"""Runs as metrics, parsed by prometheus-client's own parsers."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
from foreign_tools import require
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from kafka_cy.bench.openmetrics import JOB, METRICS, PREFIX, ExportError, export, push
from kafka_cy.testing.broker import free_ports

from .sample_results import sample_compare, sample_run


def by_name(metrics: Iterator[Metric]) -> dict[str, Metric]:
    return {metric.name.removeprefix(PREFIX): metric for metric in metrics}


def test_every_sample_at_its_time(tmp_path: Path) -> None:
    results = sample_compare()
    results.runs[1].started = "2026-11-25T16:30:00Z"
    export(results, tmp_path / "runs.txt")
    metrics = by_name(parse_openmetrics((tmp_path / "runs.txt").read_text()))
    assert set(metrics) == {name for name, _, _ in METRICS}
    for index, (run, begun) in enumerate(zip(results.runs[:2], (results.started, "2026-11-25T16:30:00Z"), strict=True)):
        found = [each for each in metrics["bytes_per_second"].samples if each.labels["run"] == str(index)]
        assert {each.labels["target"] for each in found} == {run.target}
        start, before = datetime.fromisoformat(begun).timestamp(), 0.0
        for value, sample in zip(found, run.samples, strict=True):
            assert float(value.timestamp) == pytest.approx(start + sample.t_s, abs=0.002)
            assert value.value == pytest.approx(sample.bytes / (sample.t_s - before))
            before = sample.t_s
    latencies = metrics["latency_seconds"].samples
    assert {each.labels["quantile"] for each in latencies} == {"0.5", "0.99"}
    assert [each.labels["outcome"] for each in metrics["run"].samples] == [run.outcome for run in results.runs]


def test_a_textfile_has_one_value_a_run_and_no_times(tmp_path: Path) -> None:
    results = sample_compare()
    export(results, tmp_path / "runs.prom")
    metrics = by_name(parse_prometheus((tmp_path / "runs.prom").read_text()))
    assert all(sample.timestamp is None for metric in metrics.values() for sample in metric.samples)
    rates = metrics["records_per_second"].samples
    assert [each.value for each in rates] == [run.totals.records / run.totals.duration_s for run in results.runs]
    latency = results.runs[0].latency
    assert latency is not None
    mine = {
        (each.name.removeprefix(PREFIX), each.labels.get("quantile")): each.value
        for each in metrics["latency_seconds"].samples
        if each.labels["run"] == "0"
    }
    assert mine["latency_seconds", "0.999"] == pytest.approx((latency.p999_ms or 0) / 1000)
    assert mine["latency_seconds_count", None] == latency.count
    assert [each.name for each in tmp_path.iterdir()] == ["runs.prom"]


def test_labels_are_escaped(tmp_path: Path) -> None:
    label = 'a "quoted"\nline \\ and } more'
    for name, parse in (("runs.txt", parse_openmetrics), ("runs.prom", parse_prometheus)):
        export(sample_run(label), tmp_path / name)
        metrics = by_name(parse((tmp_path / name).read_text()))
        assert {each.labels["label"] for each in metrics["requests_per_second"].samples} == {label}


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    results = sample_run()
    results.runs[0].latency = results.runs[0].totals.broker_cpu_s = results.runs[0].totals.rss_bytes_max = None
    export(results, tmp_path / "runs.prom")
    metrics = by_name(parse_prometheus((tmp_path / "runs.prom").read_text()))
    assert not {"latency_seconds", "broker_cpu_cores", "broker_resident_memory_bytes"} & set(metrics)


def test_failures_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot be written to .*/no/runs.txt: No such file or directory\."):
        export(sample_run(), tmp_path / "no" / "runs.txt")
    timeless = sample_run()
    timeless.started = "yesterday"
    with pytest.raises(ExportError, match="'yesterday' is not a time"):
        export(timeless, tmp_path / "runs.txt")
    export(timeless, tmp_path / "runs.prom")
    for url in ("http://127.0.0.1:1", "http://", "ftp://127.0.0.1:1"):
        with pytest.raises(ExportError, match="The metrics cannot be pushed to"):
            push(sample_run(), url)


class Gateway(BaseHTTPRequestHandler):
    """Stores pushed metrics; refuses the path /refuse."""

    pushed: list[tuple[str, str, str]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.pushed.append((self.path, self.headers["Content-Type"], body))
        self.send_response(400 if self.path.startswith("/refuse") else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def gateway() -> Iterator[HTTPServer]:
    Gateway.pushed = []
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_push(gateway: HTTPServer) -> None:
    url = f"http://127.0.0.1:{gateway.server_port}"
    push(sample_run(), url)
    ((path, content_type, body),) = Gateway.pushed
    assert path == f"/metrics/job/{JOB}"
    assert content_type.startswith("text/plain")
    metrics = by_name(parse_prometheus(body))
    assert len(metrics["bytes_per_second"].samples) == 1
    with pytest.raises(ExportError, match="Bad Request"):
        push(sample_run(), f"{url}/refuse")


@pytest.fixture
def pushgateway(tmp_path: Path) -> Iterator[str]:
    """The address of a real Pushgateway."""
    program = shutil.which("prometheus-pushgateway")
    require(program, "prometheus-pushgateway")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with open(tmp_path / "gateway.log", "wb") as log:
        command = [str(program), f"--web.listen-address={address}"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urlopen(f"http://{address}/-/ready", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "gateway.log").read_text()
                time.sleep(0.02)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.interop
def test_a_real_pushgateway_shows_the_last_push(pushgateway: str) -> None:
    """The Pushgateway refuses inconsistent metrics, so this checks each of ours."""
    for results in (sample_compare(), sample_run("a second one")):
        push(results, pushgateway)
        with urlopen(f"{pushgateway}/metrics", timeout=5) as page:
            metrics = by_name(parse_prometheus(page.read().decode()))
        assert {f"{name}_info" if kind == "info" else name for name, kind, _ in METRICS} <= set(metrics)
        rates = {
            (sample.labels["label"], sample.labels["run"]): sample.value
            for sample in metrics["bytes_per_second"].samples
            if sample.labels["job"] == JOB
        }
        assert rates == {
            (run.label, str(index)): pytest.approx(run.totals.bytes / run.totals.duration_s)
            for index, run in enumerate(results.runs)
        }
