"""packaging/helm: the chart says what the plain manifests say, its values do what they say, and wrong ones are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kafka_cy.config import BrokerConfig
from kafka_cy.server.environment import key_of, read_environment

ROOT = Path(__file__).parents[2]
CHART = ROOT / "packaging/helm/kafka-cy"
VERSIONS = ("1.28", "1.34")
#: Labels that only objects of a Helm release have.
HELM_LABELS = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart")

EXTERNAL = """
listeners:
  client: {port: 9192}
  external:
    enabled: true
    advertisedHost: kafka.example.com
    tlsSecretName: kafka-tls
    service: {type: NodePort, nodePort: 30092}
config:
  node.id: 7
  num.partitions: 3
  log.segment.bytes: 1073741824
  log.cleaner.min.cleanable.ratio: 0.25
  auto.create.topics.enable: false
storage: {size: 1Ti, storageClassName: fast}
resources: {limits: {memory: 4Gi}}
metrics: {podMonitor: {enabled: true, labels: {release: prometheus}}}
nodeSelector: {disk: fast}
tolerations: [{key: kafka, operator: Exists}]
"""
ADDRESS = "--set=listeners.external.enabled=true,listeners.external.advertisedHost=kafka.example.com"


def run_helm(*words: str, values: str = "") -> subprocess.CompletedProcess[str]:
    helm = shutil.which("helm", path=f"{ROOT / '.cache/bin'}:{os.environ['PATH']}")
    if helm is None:
        reason = "helm is missing (scripts/install-test-tools.sh)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return subprocess.run(
        [helm, *words, "--values", "-"], input=values, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def render(*words: str, values: str = "", release: str = "kafka-cy") -> dict[tuple[str, str], dict[str, Any]]:
    """Return what `helm install` would send, by kind and name."""
    done = run_helm("template", release, str(CHART), *words, values=values)
    assert done.returncode == 0, done.stderr
    return by_kind_and_name(done.stdout)


def by_kind_and_name(*texts: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = [each for text in texts for each in yaml.safe_load_all(text)]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pod_of(objects: dict[tuple[str, str], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the specification of the pod and of its container."""
    (stateful_set,) = [each for (kind, _), each in objects.items() if kind == "StatefulSet"]
    pod = stateful_set["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def without_helm(value: Any) -> Any:
    """The value without what Helm adds; variables are compared by their names."""
    if isinstance(value, dict):
        return {
            key: {each["name"]: each for each in child} if key == "env" else without_helm(child)
            for key, child in value.items()
            if key not in HELM_LABELS
        }
    return [without_helm(each) for each in value] if isinstance(value, list) else value


def test_the_chart_is_the_plain_manifests() -> None:
    chart = render("--set=metrics.podMonitor.enabled=true")
    plain = by_kind_and_name(*(path.read_text() for path in (ROOT / "packaging/kubernetes").glob("*.yaml")))
    _, container = pod_of(chart)
    assert container.pop("imagePullPolicy") == "IfNotPresent"  # Kubernetes' default for an image with a tag
    assert without_helm(chart) == without_helm(plain)


def test_the_chart_passes_helm_lint() -> None:
    for values in ("", EXTERNAL):
        done = run_helm("lint", "--strict", str(CHART), values=values)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", ["", EXTERNAL], ids=["default", "external"])
def test_objects_fit_the_schemas(values: str, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    objects = render(values=values)
    assert len(objects) >= 3
    for (kind, _), each in objects.items():
        if kind != "PodMonitor":
            validate.validate(each, version, strict=True)


def test_the_values_reach_the_broker() -> None:
    objects = render(values=EXTERNAL, release="shop")
    pod, container = pod_of(objects)
    secrets = {"tls.key": "-----BEGIN PRIVATE KEY-----", "tls.crt": "-----BEGIN CERTIFICATE-----"}
    variables = {}
    for each in container["env"]:
        assert each["name"] not in variables
        source = each.get("valueFrom", {})
        if "secretKeyRef" in source:
            assert source["secretKeyRef"]["name"] == "kafka-tls"
            variables[each["name"]] = secrets[source["secretKeyRef"]["key"]]
        else:
            variables[each["name"]] = each.get("value", "shops").replace("$(POD_NAMESPACE)", "shops")
    config = BrokerConfig.load(None, read_environment(variables, file_keys=None).settings)
    assert config.warnings == []
    assert config.text("listeners") == "PLAINTEXT://0.0.0.0:9192,EXTERNAL://0.0.0.0:9094"
    inside = "PLAINTEXT://shop-kafka-cy-0.shop-kafka-cy-headless.shops.svc:9192"
    assert config.text("advertised.listeners") == f"{inside},EXTERNAL://kafka.example.com:30092"
    assert config.text("listener.security.protocol.map") == "PLAINTEXT:PLAINTEXT,EXTERNAL:SSL"
    assert [config["node.id"], config["num.partitions"], config["log.segment.bytes"]] == [7, 3, 1 << 30]
    assert config["log.cleaner.min.cleanable.ratio"] == 0.25
    assert config["auto.create.topics.enable"] is False
    assert pod["nodeSelector"] == {"disk": "fast"} and pod["tolerations"] == [{"key": "kafka", "operator": "Exists"}]
    assert container["resources"]["limits"] == {"memory": "4Gi"}
    claim = objects["StatefulSet", "shop-kafka-cy"]["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim["storageClassName"] == "fast" and claim["resources"]["requests"]["storage"] == "1Ti"
    assert objects["PodMonitor", "shop-kafka-cy"]["metadata"]["labels"]["release"] == "prometheus"


def test_services_find_the_pod_of_their_release() -> None:
    objects = render(values=EXTERNAL, release="shop")
    stateful_set = objects["StatefulSet", "shop-kafka-cy"]
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "shop"
    _, container = pod_of(objects)
    ports = {each["name"] for each in container["ports"]}
    services = [each["spec"] for (kind, _), each in objects.items() if kind == "Service"]
    assert len(services) == 3
    for each in services:
        assert each["selector"] == labels
        assert {port["targetPort"] for port in each["ports"]} <= ports
    assert stateful_set["spec"]["serviceName"] == "shop-kafka-cy-headless"
    assert objects["PodMonitor", "shop-kafka-cy"]["spec"]["selector"]["matchLabels"] == labels


def test_a_load_balancer_is_advertised_with_its_port() -> None:
    objects = render(ADDRESS)
    service = objects["Service", "kafka-cy-external"]["spec"]
    assert service["type"] == "LoadBalancer" and service["ports"][0]["port"] == 9094
    _, container = pod_of(objects)
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["KAFKA_ADVERTISED_LISTENERS"].endswith(",EXTERNAL://kafka.example.com:9094")
    assert not [name for name in variables if "SSL" in name]


@pytest.mark.parametrize("key", ["num.partitions", "max.connections.per.ip.overrides", "a-b.c_d"])
def test_keys_become_variables_that_mean_them(key: str) -> None:
    _, container = pod_of(render(values=yaml.safe_dump({"config": {key: "1"}})))
    assert key in [key_of(each["name"]) for each in container["env"]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("replicas=3", "'replicas' not allowed"),
        ("config.listeners=PLAINTEXT://:9092", "invalid propertyName 'listeners'"),
        ("listeners.external.enabled=true", "/listeners/external/advertisedHost"),
        ("listeners.client.port=0", "/listeners/client/port"),
    ],
)
def test_wrong_values_are_refused(values: str, reason: str) -> None:
    done = run_helm("template", "kafka-cy", str(CHART), f"--set={values}")
    assert done.returncode != 0
    assert reason in done.stderr


def test_a_node_port_must_be_known() -> None:
    done = run_helm("template", "kafka-cy", str(CHART), f"{ADDRESS},listeners.external.service.type=NodePort")
    assert done.returncode != 0
    assert "a NodePort needs service.nodePort or advertisedPort" in done.stderr


def test_versions_are_those_of_the_package() -> None:
    from kafka_cy.version import VERSION

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION
