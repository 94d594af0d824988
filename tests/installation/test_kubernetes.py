"""packaging/kubernetes: the manifests fit Kubernetes' schemas, each other, the image and the broker."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kafka_cy.config import BrokerConfig
from kafka_cy.server.environment import read_environment
from kafka_cy.telemetry.metrics_server import PATHS
from kafka_cy.tools.main import parse_server_arguments

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging/kubernetes"
MANIFESTS: list[dict[str, Any]] = [
    each for path in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())
]
OF_KUBERNETES = [each for each in MANIFESTS if each["kind"] != "PodMonitor"]
VERSIONS = ("1.28", "1.34")


def manifest(kind: str, name: str = "kafka-cy") -> dict[str, Any]:
    return next(each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name))


SPEC: dict[str, Any] = manifest("StatefulSet")["spec"]
POD: dict[str, Any] = SPEC["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("each", OF_KUBERNETES, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_manifests_fit_the_schemas(each: dict[str, Any], version: str) -> None:
    if importlib.util.find_spec("kubernetes_validate") is None:
        reason = "kubernetes-validate is missing (pip install kubernetes-validate)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    import kubernetes_validate

    kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_find_a_mistake() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    wrong = {**manifest("StatefulSet"), "spec": {**SPEC, "replica": 1}}
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, VERSIONS[0], strict=True)


def test_selectors_find_the_pod() -> None:
    labels = POD["metadata"]["labels"].items()
    for name in ("kafka-cy", "kafka-cy-headless"):
        service = manifest("Service", name)["spec"]
        assert service["selector"].items() <= labels
        assert [port["targetPort"] for port in service["ports"]] == ["clients"]
    assert SPEC["selector"]["matchLabels"].items() <= labels
    assert manifest("PodMonitor")["spec"]["selector"]["matchLabels"].items() <= labels
    assert SPEC["serviceName"] == "kafka-cy-headless"


def test_one_broker() -> None:
    """Several replicas would be several clusters."""
    assert SPEC["replicas"] == 1


def test_the_variables_are_a_configuration() -> None:
    variables = {each["name"]: each.get("value", "kafka") for each in CONTAINER["env"]}
    variables = {name: value.replace("$(POD_NAMESPACE)", variables["POD_NAMESPACE"]) for name, value in variables.items()}
    config = BrokerConfig.load(None, read_environment(variables, file_keys=None).settings)
    assert config.warnings == []
    assert config.text("advertised.listeners") == "PLAINTEXT://kafka-cy-0.kafka-cy-headless.kafka.svc:9092"
    assert config.text("listeners") == f"PLAINTEXT://0.0.0.0:{PORTS['clients']}"
    assert config["kafkacy.metrics.listen"] == f"0.0.0.0:{PORTS['metrics']}"
    assert config["kafkacy.lag.listen"] == f"0.0.0.0:{PORTS['lag']}"
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    volume = SPEC["volumeClaimTemplates"][0]["metadata"]["name"]
    assert [mounts[str(Path(folder).parent)] for folder in config.log_dirs] == [volume]
    assert parse_server_arguments(CONTAINER["args"][1:]).from_environment


def test_probes_ask_pages_that_exist() -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = CONTAINER[probe]["httpGet"]
        assert get["path"] in PATHS.split() and get["port"] == "metrics"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_the_pod_needs_no_privileges() -> None:
    spec = POD["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert f"USER {spec['securityContext']['runAsUser']}\n" in (ROOT / "Dockerfile").read_text()
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    assert spec["enableServiceLinks"] is False


def test_prometheus_gets_the_jobs_of_the_dashboards() -> None:
    jobs = {}
    for endpoint in manifest("PodMonitor")["spec"]["podMetricsEndpoints"]:
        assert endpoint["port"] in PORTS and endpoint["path"] == "/metrics"
        names = {each["targetLabel"]: each.get("replacement") for each in endpoint["relabelings"]}
        assert "kafka_cluster" in names
        jobs[endpoint["port"]] = names["job"]
    assert jobs == {"metrics": "kafka", "lag": "kafka-lag"}
    scraped = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert set(jobs.values()) <= {each["job_name"] for each in scraped}
