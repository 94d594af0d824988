"""The metrics and lag pages with TLS and a password, as docs/metrics.md sets them up: Prometheus, curl's rules, and our tools."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports
from tests.monitoring.running_stack import get_json, wait_for
from tests.monitoring.tools import needed

PASSWORD = "correct horse: 7"
CERTIFICATE, USERS = "kafkacy.metrics.tls.certificate", "kafkacy.metrics.basic.auth.users.file"


def command(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kafka_cy", *words], cwd=folder, env={**os.environ, "PW": PASSWORD, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("pages")
    for words in (["ca"], ["server", "localhost", "127.0.0.1"]):
        assert command("certs", *words, "--key-type", "ec", folder=folder).returncode == 0
    hashed = command("hash-password", "prometheus", "--password", "env:PW", folder=folder)
    assert hashed.returncode == 0 and PASSWORD not in hashed.stdout
    (folder / "users").write_text(hashed.stdout)
    config = {CERTIFICATE: folder / "broker.keystore.pem", USERS: folder / "users"}
    with Broker(config, folder=folder) as running:
        yield running


def url(broker: Broker, path: str, port: int | None = None) -> str:
    return f"https://localhost:{port or broker.metrics_port}{path}"


def get(broker: Broker, address: str) -> int:
    context = ssl.create_default_context(cafile=broker.folder / "ca.pem")
    try:
        with urllib.request.urlopen(address, timeout=60, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_probes_need_no_password(broker: Broker) -> None:
    assert get(broker, url(broker, "/health")) == get(broker, url(broker, "/ready")) == 200
    for path in ("/", "/metrics", "/debug/threads"):
        assert get(broker, url(broker, path)) == 401
    for path in ("/metrics", "/ready"):
        assert get(broker, url(broker, path, broker.lag_port)) == 401


def test_the_log_has_the_addresses_and_no_secret(broker: Broker) -> None:
    log = broker.log_text()
    assert broker.metrics_url == f"https://127.0.0.1:{broker.metrics_port}/metrics"
    assert f"serving metrics url={broker.metrics_url}" in log and f"serving consumer lag url={broker.lag_url}" in log
    salt_and_hash = (broker.folder / "users").read_text().strip().split("$")[-2:]
    assert not any(secret in log for secret in (PASSWORD, *salt_and_hash))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    described = admin.describe_configs([ConfigResource(ResourceType.BROKER, "1")])
    values = {name: entry.value for name, entry in next(iter(described.values())).result(60).items()}
    assert values[USERS] == str(broker.folder / "users")
    assert not any(secret in str(values) for secret in (PASSWORD, *salt_and_hash))


def test_prometheus_scrapes_both(broker: Broker, tmp_path: Path) -> None:
    prometheus = needed("prometheus", "prometheus")
    (tmp_path / "password").write_text(PASSWORD)
    secured = f"""
    scheme: https
    tls_config: {{ca_file: "{broker.folder}/ca.pem"}}
    basic_auth: {{username: prometheus, password_file: "{tmp_path}/password"}}
"""
    jobs = [
        f'  - job_name: {name}{credentials}    static_configs: [{{targets: ["localhost:{port}"]}}]\n'
        for name, port, credentials in (
            ("kafka", broker.metrics_port, secured),
            ("lag", broker.lag_port, secured),
            ("stranger", broker.metrics_port, secured.replace("username: prometheus", "username: eve")),
            ("untrusting", broker.metrics_port, "\n    scheme: https\n"),
        )
    ]
    config = tmp_path / "prometheus.yml"
    config.write_text("global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n" + "".join(jobs))
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [
                prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:

        def health() -> dict[str, tuple[str, str]]:
            try:
                targets = get_json(f"http://{address}/api/v1/targets")["data"]["activeTargets"]
            except OSError:
                return {}
            return {each["labels"]["job"]: (each["health"], each["lastError"]) for each in targets}

        for job, reason in (("stranger", "401"), ("untrusting", "x509")):
            wait_for(reason, lambda job=job, reason=reason: reason in health().get(job, ("", ""))[1])
            assert health()[job][0] == "down"
        for job in ("kafka", "lag"):  # on a busy machine, the first scrapes may be too late
            wait_for(f"{job} is up", lambda job=job: health().get(job) == ("up", ""))
    finally:
        process.kill()
        process.wait(60)
    for line in (
        "a wrong user or password for the metrics or lag page page=metrics",
        "a TLS handshake with the metrics or lag page failed page=metrics",
    ):
        wait_for(f"{line} in the log", lambda line=line: line in broker.log_text())
    assert "bad certificate" in broker.log_text()


def test_top_and_doctor_have_a_password(broker: Broker) -> None:
    """From the environment: the command line would show it to everybody."""
    user = "prometheus:correct%20horse%3A%207@"
    environment = {
        "SSL_CERT_FILE": str(broker.folder / "ca.pem"),
        "KAFKA_CY_METRICS": url(broker, "/metrics").replace("//", f"//{user}"),
        "KAFKA_CY_LAG": url(broker, "/metrics", broker.lag_port).replace("//", f"//{user}"),
    }
    words = ("-b", broker.bootstrap_servers)
    shown = command("top", "--once", *words, folder=broker.folder, **environment)
    assert shown.returncode == 0, shown.stderr
    assert f"localhost:{broker.metrics_port}" in shown.stdout
    checked = command("doctor", "-o", "json", "--watch", "0", *words, folder=broker.folder, **environment)
    checks = {check["check"]: check["status"] for check in json.loads(checked.stdout)}
    assert checks["clock"] == "ok"
    wrong = {**environment, "KAFKA_CY_METRICS": environment["KAFKA_CY_METRICS"].replace("horse", "cow")}
    refused = command("top", "--once", *words, folder=broker.folder, **wrong)
    assert f"broker at https://localhost:{broker.metrics_port}/metrics answered 401" in refused.stdout + refused.stderr
    del wrong["SSL_CERT_FILE"]
    untrusted = command("top", "--once", *words, folder=broker.folder, **wrong)
    assert "this machine does not trust" in untrusted.stdout + untrusted.stderr
    for done in (shown, checked, refused, untrusted):
        assert "horse" not in done.stdout + done.stderr and "cow" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({CERTIFICATE: "nothing"}, f"{CERTIFICATE}=nothing"),
        ({"kafkacy.metrics.tls.key": "nothing"}, "but no certificate"),
        ({USERS: "users"}, "line 1 is not USER"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, keys: dict[str, str], reason: str) -> None:
    (tmp_path / "users").write_text(f"prometheus:{PASSWORD}\n")
    overrides = {"listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": "data", "kafkacy.metrics.listen": "127.0.0.1:0", **keys}
    words = [word for key, value in overrides.items() for word in ("--override", f"{key}={value}")]
    done = command("server", *words, folder=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr and PASSWORD not in done.stderr
    assert not (tmp_path / "data").exists()
