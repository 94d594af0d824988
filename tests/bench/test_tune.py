"""`kafka-cy bench tune` against a live broker, with a minimal budget."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from kafka_cy.bench.results import load
from kafka_cy.testing.broker import Broker

COMMAND = [sys.executable, "-m", "kafka_cy", "bench", "tune", "--duration", "0.5"]


def test_a_tiny_budget_still_measures_the_baseline(kafka_broker: Broker, tmp_path: Path) -> None:
    path, page = tmp_path / "tune.json", tmp_path / "tune.html"
    bootstrap = kafka_broker.bootstrap_servers
    arguments = ["-b", bootstrap, "--budget", "6", "--json", path, "--html", page, "--openmetrics", tmp_path / "t.prom"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = load(path)
    tune = results.tune
    assert results.kind == "tune"
    assert tune is not None
    baseline = tune.trials[0]
    assert baseline.error is None
    assert baseline.bytes_per_s
    assert baseline.latency_p50_ms
    assert {each.goal for each in tune.recommendations} == {"throughput", "latency", "durability"}
    assert tune.front
    assert "# librdkafka (confluent-kafka, kcat ...)\n" in done.stdout
    assert "baseline" in done.stderr
    assert "For throughput" in page.read_text()
    assert "kafkacy_bench_latency_seconds" in (tmp_path / "t.prom").read_text()
    # the topics of the trials are deleted
    admin = AdminClient({"bootstrap.servers": bootstrap})
    assert [name for name in admin.list_topics(timeout=60).topics if name.startswith("bench-")] == []


def test_ctrl_c_keeps_what_was_measured(kafka_broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "tune.json"
    arguments = ["-b", kafka_broker.bootstrap_servers, "--goal", "latency", "--json", path]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "one at a time" in line:  # the baseline and one trial are done
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    tune = load(path).tune
    assert tune is not None
    assert "Interrupted: the search is incomplete." in tune.notes
    assert len(tune.trials) >= 2
    assert [each.goal for each in tune.recommendations] == ["latency"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-b", "127.0.0.1:1"], "kafka-cy: No broker answers at 127.0.0.1:1: connection refused.\n"),
        (["--goal", "beauty"], "'beauty' is not one of"),
        (["--payload-file", "/there/is/none"], "Payload file /there/is/none: No such file or directory."),
        (["--replication-factor", "3", "--budget", "0"], "Kafka's defaults could not be measured: Topic "),
    ],
)
def test_what_cannot_be_is_one_sentence(
    kafka_broker: Broker, arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    where = [] if "-b" in arguments else ["-b", kafka_broker.bootstrap_servers]
    done = subprocess.run([*COMMAND, *where, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
