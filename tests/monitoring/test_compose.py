"""The compose files and the Dockerfile without docker: they are parsed and linted, and the files that they name exist."""

from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from kafka_cy.config import BrokerConfig
from kafka_cy.server.environment import read_environment
from kafka_cy.tools.main import parse_server_arguments
from tests.monitoring.tools import ROOT, run

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
CLUSTER = ROOT / "docker-compose.cluster.yml"
CLUSTER_SERVICES: dict[str, Any] = yaml.safe_load(CLUSTER.read_text())["services"]
NUMBERS = (1, 2, 3)


def test_compose_file_is_valid() -> None:
    compose = PyCompose.from_yaml(COMPOSE.read_text())
    compose.validate()
    compose.to_spec()
    assert set(compose.service_names()) == {
        "kafka", "zookeeper", "demo", "prometheus", "alertmanager", "grafana", "otel-collector", "kafka-ui", "node-exporter"
    }  # fmt: skip


def test_compose_file_of_the_cluster_is_valid() -> None:
    # The parser does not know merge keys below a service; docker does.
    compose = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(CLUSTER.read_text())))
    compose.validate()
    compose.to_spec()
    members = {f"{kind}{number}" for kind in ("kafka", "zookeeper") for number in NUMBERS}
    assert set(compose.service_names()) == members | {"demo", "prometheus", "alertmanager", "grafana"}
    for name in ("prometheus", "alertmanager", "grafana"):
        other = {key: value for key, value in SERVICES[name].items() if key not in ("depends_on", "volumes")}
        assert {key: value for key, value in CLUSTER_SERVICES[name].items() if key not in ("depends_on", "volumes")} == other


@pytest.mark.parametrize("number", NUMBERS)
def test_a_broker_of_the_cluster_can_start(number: int) -> None:
    """Its variables are a valid configuration, and others reach it where it listens."""
    service = CLUSTER_SERVICES[f"kafka{number}"]
    parse_server_arguments(service["command"][1:])
    variables = {name: value for name, value in service["environment"].items() if name.startswith("KAFKA_")}
    config = BrokerConfig(read_environment(variables, file_keys=None).settings)
    assert config.warnings == []
    assert (config.broker_id, config.inter_broker_listener_name) == (number, "INTERNAL")
    advertised = {each.name: (each.host, each.port) for each in config.advertised_listeners}
    ports = {listener.name: listener.port for listener in config.listeners}
    assert advertised == {"INTERNAL": (f"kafka{number}", ports["INTERNAL"]), "LOCAL": ("127.0.0.1", ports["LOCAL"])}
    metrics, lag = (int(config[f"kafkacy.{page}.listen"].rpartition(":")[2]) for page in ("metrics", "lag"))
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in (ports["LOCAL"], metrics, lag)]
    assert f":{metrics}/ready" in service["healthcheck"]["test"][-1]
    assert service["healthcheck"]["start_interval"] == "1s"
    assert config.log_dirs == ["/var/lib/kafka-cy/data"] and service["volumes"] == [f"kafka{number}-data:/var/lib/kafka-cy"]
    servers = str(config["zookeeper.connect"]).split(",")
    assert servers == [f"zookeeper{each}:{CLUSTER_SERVICES[f'zookeeper{each}']['ports'][0].rpartition(':')[2]}" for each in NUMBERS]


def test_the_ensemble_agrees_with_its_services() -> None:
    text = (ROOT / "monitoring/compose-cluster/zoo.cfg").read_text()
    found = re.findall(r"^server\.(\d)=(zookeeper\d):(\d+):(\d+);0\.0\.0\.0:(\d+)$", text, re.MULTILINE)
    assert [(int(number), name) for number, name, *_ in found] == [(each, f"zookeeper{each}") for each in NUMBERS]
    assert len({port for _, _, *ports in found for port in ports}) == 9
    for number, name, _, _, client in found:
        service = CLUSTER_SERVICES[name]
        assert service["environment"] == {"ZOO_MY_ID": number}
        assert service["ports"] == [f"127.0.0.1:{client}:{client}"]
        assert f"127.0.0.1 {client} " in service["healthcheck"]["test"][-1]


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
    # Builders that know no --start-interval (buildah 1.28 of Debian 12) would not build the image at all.
    (check,) = [line for line in DOCKERFILE.read_text().splitlines() if line.startswith("HEALTHCHECK")]
    assert {word.split("=")[0] for word in check.split() if word[:2] == "--"} == {
        "--interval", "--timeout", "--start-period", "--retries"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, each in ((COMPOSE, SERVICES), (CLUSTER, CLUSTER_SERVICES)) for name in sorted(each)]
)
def test_services_use_what_is_there(file: Path, name: str) -> None:
    compose = yaml.safe_load(file.read_text())
    services, volumes = compose["services"], compose["volumes"]
    service = services[name]
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith((".", "/")) else source in volumes, volume
        assert not source.startswith((".", "/")) or re.search(r":ro\b", volume), volume
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "nothing is opened to the network unasked"
    assert set(service.get("depends_on", ())) <= set(services)
    assert ":" in service["image"] or service["image"] == SERVICES["kafka"]["image"], "images have a version"


def test_addresses_in_configurations_are_services_and_their_ports() -> None:
    listening = {"kafka": {19092, 9404, 9308}, "zookeeper": {2181, 7000}, "otel-collector": {8889, 4317, 4318}}
    listening |= {"prometheus": {9090}, "alertmanager": {9093}, "node-exporter": {9100}}
    listening |= {f"kafka{each}": {18992 + 100 * each, 9403 + each, 9307 + each} for each in NUMBERS}
    listening |= {f"zookeeper{each}": {2180 + each, 2880 + each, 7000} for each in NUMBERS}
    all_services = [*SERVICES.values(), *CLUSTER_SERVICES.values()]
    mounted = [volume.split(":")[0] for each in all_services for volume in each.get("volumes", ())]
    files = [ROOT / source for source in mounted if source.startswith(".")]
    names = "|".join({*SERVICES, *CLUSTER_SERVICES})
    for path in (each for file in files for each in ([file] if file.is_file() else file.rglob("*.yml"))):
        for name, port in re.findall(rf"(?<![\w.-])({names}):(\d+)\b", path.read_text()):
            assert int(port) in listening[name], f"{path}: {name}:{port}"
            assert "compose-cluster" not in path.parts or name in CLUSTER_SERVICES, path


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
