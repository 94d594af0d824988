"""A distributed worker of Kafka Connect with exactly-once source connectors (KIP-618), in a process that tests kill."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foreign_tools import HERE

from kafka_cy.testing.broker import free_ports
from tests.waiting import wait_until

CONNECT_JARS = HERE.parent.parent / ".cache" / "kafka-connect-4.3.1"
FILE_SOURCE = "org.apache.kafka.connect.file.FileStreamSourceConnector"
START_TIMEOUT_S = 90
#: One partition and one replica of each internal topic; a member that was killed is noticed soon.
SETTINGS: Mapping[str, object] = {
    "group.id": "connect-workers",
    "exactly.once.source.support": "enabled",
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    "config.storage.topic": "connect-configs",
    "config.storage.replication.factor": 1,
    "offset.storage.topic": "connect-offsets",
    "offset.storage.replication.factor": 1,
    "offset.storage.partitions": 1,
    "status.storage.topic": "connect-status",
    "status.storage.replication.factor": 1,
    "status.storage.partitions": 1,
    "plugin.discovery": "service_load",
    "session.timeout.ms": 1500,
    "heartbeat.interval.ms": 300,
    "scheduled.rebalance.max.delay.ms": 0,
}


class ConnectWorker:
    """One worker; `folder` gets its settings and its log. Owner: one test."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self._settings_path, self.log_path = folder / "worker.properties", folder / "worker.log"
        settings = {**SETTINGS, "bootstrap.servers": bootstrap, "listeners": self._url}
        self._settings_path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self.start()

    def start(self) -> None:
        """Start the process; returns at once."""
        command = [
            "java", "-Xmx192m", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}", "-cp", f"{CONNECT_JARS}/*",
            "org.apache.kafka.connect.cli.ConnectDistributed", str(self._settings_path),
        ]  # fmt: skip
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def put_connector(self, name: str, config: Mapping[str, str]) -> None:
        """Create the connector, as soon as the worker serves requests."""

        def created() -> bool:
            return self._request("PUT", f"/connectors/{name}/config", config) is not None

        wait_until(created, f"the connector: {self.log_path.read_text()[-2000:]}", START_TIMEOUT_S)

    def _request(self, method: str, path: str, body: Any) -> Any:
        """The response; None when the worker is not ready for requests."""
        assert self._process.poll() is None, self.log_path.read_text()[-4000:]
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except (urllib.error.URLError, OSError):
            return None
