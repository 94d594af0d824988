"""docker-compose.yml and the Dockerfile without docker: they are parsed and linted, and the files that they name exist."""

from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from kafka_cy.tools.main import parse_server_arguments
from tests.monitoring.tools import ROOT, run

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]


def test_compose_file_is_valid() -> None:
    compose = PyCompose.from_yaml(COMPOSE.read_text())
    compose.validate()
    compose.to_spec()
    assert set(compose.service_names()) == {
        "kafka", "zookeeper", "demo", "prometheus", "alertmanager", "grafana", "otel-collector", "kafka-ui", "node-exporter"
    }  # fmt: skip


def test_only_the_broker_and_its_monitoring_start_unasked() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {
        "zookeeper": ["cluster"], "otel-collector": ["otel"], "kafka-ui": ["ui"], "node-exporter": ["node-exporter"]
    }  # fmt: skip
    for name, service in SERVICES.items():
        if name not in profiles:
            assert not set(service.get("depends_on", ())) & set(profiles), name


def test_the_broker_is_healthy_soon() -> None:
    """`depends_on: service_healthy` waits for the first check that succeeds."""
    assert SERVICES["kafka"]["healthcheck"]["start_interval"] == "1s"
    assert "--start-interval=1s" in DOCKERFILE.read_text()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_use_what_is_there(name: str) -> None:
    service = SERVICES[name]
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith((".", "/")) else source in volumes, volume
        assert not source.startswith((".", "/")) or re.search(r":ro\b", volume), volume
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "nothing is opened to the network unasked"
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    assert ":" in service["image"] or service["image"] == SERVICES["kafka"]["image"], "images have a version"


def test_addresses_in_configurations_are_services_and_their_ports() -> None:
    listening = {"kafka": {19092, 9404, 9308}, "zookeeper": {2181, 7000}, "otel-collector": {8889, 4317, 4318}}
    listening |= {"prometheus": {9090}, "alertmanager": {9093}, "node-exporter": {9100}}
    mounted = [volume.split(":")[0] for each in SERVICES.values() for volume in each.get("volumes", ())]
    files = [ROOT / source for source in mounted if not source.startswith("/")]
    names = "|".join(SERVICES)
    for path in (each for file in files for each in ([file] if file.is_file() else file.rglob("*.yml"))):
        for name, port in re.findall(rf"(?<![\w.-])({names}):(\d+)\b", path.read_text()):
            assert int(port) in listening[name], f"{path}: {name}:{port}"


def test_dockerfile_lint() -> None:
    assert run(Path(sys.executable).parent / "hadolint", DOCKERFILE) == ""


def instructions() -> list[list[str]]:
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_image_has_stages_a_user_and_a_health_check() -> None:
    words = [line[0] for line in instructions()]
    assert words.count("FROM") == 2
    last_stage = instructions()[len(words) - words[::-1].index("FROM") :]
    users = [line[1] for line in last_stage if line[0] == "USER"]
    assert users and users[-1].isdigit() and int(users[-1]) > 0
    assert "HEALTHCHECK" in [line[0] for line in last_stage]
    commands = [yaml.safe_load(" ".join(line[1:])) for line in last_stage if line[0] == "CMD" and line[1] == '["server",']
    assert commands == [["server", "--from-environment"]]
    for words in (commands[0], SERVICES["kafka"]["command"]):
        parse_server_arguments(words[1:])


def test_files_for_a_licence_and_settings_are_in_the_image() -> None:
    assert {"LICENSE", "README.md"} <= {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}


def test_the_build_gets_what_it_needs_and_no_more() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def is_sent(path: str) -> bool:
        sent = True
        for rule in rules:
            pattern = rule.removeprefix("!").replace("**/", "*")
            parents = [path, *(str(parent) for parent in Path(path).parents)]
            if any(fnmatch.fnmatch(each, pattern) for each in parents):
                sent = rule.startswith("!")
        return sent

    copied = [line[1] for line in instructions() if line[0] == "COPY" and line[1] != "."]
    for path in ["setup.py", "pyproject.toml", "kafka_cy/api/fetch.pyx", "kafka_cy/records/crc32c.h", *copied]:
        assert is_sent(path), path
        assert (ROOT / path).exists(), path
    for path in [".git/config", "data/stack", "tests/unit", "kafka_cy/api/fetch.c", ".venv/bin/python"]:
        assert not is_sent(path), path
