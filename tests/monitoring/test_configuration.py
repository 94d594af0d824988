"""The files in monitoring/, checked by the programs that read them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.tools import MONITORING, ROOT, needed, run

PROMETHEUS = MONITORING / "prometheus"
RULES = PROMETHEUS / "rules"
RUNBOOKS = PROMETHEUS / "consoles" / "runbooks.html"
TESTED = PROMETHEUS / "tests" / "alerts_test.yml"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in load(RULES / file)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def test_prometheus_takes_the_configuration() -> None:
    promtool = needed("promtool", "prometheus")
    run(promtool, "check", "config", PROMETHEUS / "prometheus.yml")
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *sorted(RULES.glob("*.yml")))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in run(needed("promtool", "prometheus"), "test", "rules", TESTED)


def test_names_of_the_mbeans_serve_alerts_that_ask_for_them() -> None:
    assert "SUCCESS" in run(needed("promtool", "prometheus"), "test", "rules", TESTED.with_name("mbean_names_test.yml"))


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_is_tested_and_has_a_runbook(name: str) -> None:
    annotations = ALERTS[name]["annotations"]
    assert annotations["runbook_url"] == f"{{{{ $externalURL }}}}/consoles/runbooks.html#{name.lower()}"
    assert f'<h3 id="{name.lower()}">' in RUNBOOKS.read_text()
    assert re.search(rf"^### {name}$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert ALERTS[name]["labels"]["severity"] in ("critical", "warning")
    tested = [check for test in load(TESTED)["tests"] for check in test.get("promql_expr_test", ())]
    firing = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    assert [check for check in tested if check["expr"] == firing and check["exp_samples"]]


def test_runbooks_are_about_alerts_that_there_are() -> None:
    assert set(re.findall(r"^### (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)) == set(ALERTS)


def test_prometheus_serves_the_current_runbooks() -> None:
    run(sys.executable, ROOT / "scripts" / "write_runbooks_page.py", "--check")


def test_scrapers_know_the_same_targets_everywhere() -> None:
    jobs = load(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    files = {name for job in jobs for each in job["file_sd_configs"] for name in each["files"]}
    for folder in (PROMETHEUS, MONITORING / "compose", MONITORING / "compose-cluster"):
        assert {f"targets/{path.name}" for path in (folder / "targets").iterdir()} == files


def test_alertmanager_takes_the_configuration() -> None:
    run(needed("amtool", "prometheus-alertmanager"), "check-config", MONITORING / "alertmanager/alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=KafkaBrokerDown severity=critical", "on-call"),
        ("alertname=KafkaReplicaLag severity=warning", "team"),
    ],
)
def test_alerts_reach_their_receiver(labels: str, receiver: str) -> None:
    path = MONITORING / "alertmanager/alertmanager.yml"
    amtool = needed("amtool", "prometheus-alertmanager")
    run(amtool, "config", "routes", "test", f"--config.file={path}", f"--verify.receivers={receiver}", *labels.split())


def test_inhibitions_name_alerts_that_there_are() -> None:
    for rule in load(MONITORING / "alertmanager/alertmanager.yml")["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            pattern = re.fullmatch(r'alertname(?:=|=~|!=)"(.*)"', matcher)
            assert pattern, matcher
            for name in pattern[1].split("|"):
                assert name in ALERTS or name == "Kafka.*"


# Components of the collector's core and contrib distributions that the configuration uses.
COLLECTOR_COMPONENTS = {
    "receivers": {"otlp"},
    "processors": {"memory_limiter", "batch"},
    "exporters": {"prometheus", "debug"},
    "extensions": {"health_check"},
}


def test_collector_pipelines_are_whole() -> None:
    """No package registry has the collector, so this checks the configuration for what the collector would refuse."""
    config = load(MONITORING / "otel-collector/config.yaml")
    assert set(config) == {*COLLECTOR_COMPONENTS, "service"}
    for kind, known in COLLECTOR_COMPONENTS.items():
        assert set(config[kind]) <= known
    used: dict[str, set[str]] = {"extensions": set(config["service"]["extensions"])}
    for name, pipeline in config["service"]["pipelines"].items():
        assert name in ("metrics", "traces", "logs")
        assert pipeline["receivers"] and pipeline["exporters"]
        assert pipeline["processors"][0] == "memory_limiter", "it must come first"
        for kind in ("receivers", "processors", "exporters"):
            used.setdefault(kind, set()).update(pipeline[kind])
    assert used == {kind: set(config[kind]) for kind in COLLECTOR_COMPONENTS}
    assert load(MONITORING / "compose/targets/otel-collector.yml")[0]["targets"] == ["otel-collector:8889"]
    assert config["exporters"]["prometheus"]["endpoint"].endswith(":8889")
