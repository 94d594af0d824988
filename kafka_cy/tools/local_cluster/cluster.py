"""One ZooKeeper and several brokers as processes: started in order, watched, and stopped in the opposite order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kafka_cy.bench.with_parent import with_parent
from kafka_cy.telemetry.http_server import parse_address
from kafka_cy.testing.broker import answers_api_versions
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.doctor.port_owner import owner_of_port, process_name
from kafka_cy.tools.local_cluster import zookeeper
from kafka_cy.tools.local_cluster.layout import BrokerFiles, Layout, is_free
from kafka_cy.tools.local_cluster.process import ServerProcess
from kafka_cy.tools.raw_client import METADATA, RawClient

if TYPE_CHECKING:
    from kafka_cy.server.log import BrokerLog

START_TIMEOUT_S = 60.0
BROKER_STOP_TIMEOUT_S = 60.0
ZOOKEEPER_STOP_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 5.0
LOOK_INTERVAL_S = 0.05


class Interrupted(Exception):
    """The user ends the cluster while it starts."""


class LocalCluster:
    """For one thread. `stopping` is asked while the start waits: true ends it with Interrupted."""

    def __init__(
        self, layout: Layout, java: str, class_path: str, log: BrokerLog, stopping: Callable[[], bool]
    ) -> None:
        self._layout, self._log, self._stopping = layout, log, stopping
        self.cluster_id = ""
        port = layout.zookeeper_port
        # ZooKeeper knows no parent: the kernel kills it when this process has ended without stopping it.
        command = with_parent(zookeeper.command(java, class_path, layout.zookeeper_configuration))
        self._zookeeper = ServerProcess(
            "ZooKeeper", f"127.0.0.1:{port}", command, layout.zookeeper_log, lambda: zookeeper.serves(port)
        )
        self._brokers = [_process_of(files) for files in layout.brokers]
        self._killed = False

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses for clients."""
        return ",".join(each.address for each in self._layout.brokers)

    # -- start --

    def start(self) -> None:
        """Return when all brokers know each other. Raises ToolError, OSError, Interrupted."""
        self._require_free_ports()
        self._zookeeper.start()
        self._wait_for(self._zookeeper)
        self._log.info("ZooKeeper serves", address=self._zookeeper.address, log=str(self._zookeeper.log))
        for process in self._brokers:
            process.start()
        for files, process in zip(self._layout.brokers, self._brokers, strict=True):
            self._wait_for(process)
            pages = {"metrics": files.metrics, "lag": files.lag}
            urls = {name: f"http://{address}/metrics" for name, address in pages.items() if address}
            self._log.info(
                "a broker serves", broker=files.number, address=process.address, **urls, log=str(process.log)
            )
        for process in self._brokers:
            self._wait(lambda process=process: self._knows_all(process), process)  # type: ignore[misc]

    def _require_free_ports(self) -> None:
        """Nothing is started if not all can start. Raises ToolError."""
        wanted = [("ZooKeeper", "127.0.0.1", self._layout.zookeeper_port, self._layout.zookeeper_configuration)]
        for files in self._layout.brokers:
            wanted.append((f"broker {files.number}", files.host, files.port, files.properties))
            wanted += [
                (f"broker {files.number}", *parse_address(page), files.properties)
                for page in (files.metrics, files.lag)
                if page
            ]
        for name, host, port, path in wanted:
            if port and not is_free(port, host):
                pid = owner_of_port(port)
                owner = f"process {pid} ({process_name(pid)})" if pid is not None else "another process"
                raise ToolError(f"Port {port} of {name} is taken by {owner}. Stop it, or change the port in {path}.")

    def _wait_for(self, process: ServerProcess) -> None:
        self._wait(process.answers, process)

    def _wait(self, condition: Callable[[], bool], process: ServerProcess) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if self._stopping():
                raise Interrupted
            for each in (self._zookeeper, *self._brokers):
                if each.has_ended:
                    each.told = True
                    raise ToolError(f"{each.name} ended: {each.ended()}")
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{process.name} does not serve at {process.address} after {START_TIMEOUT_S:g} s; last line of "
                    f"{process.log}: {process.last_line()}"
                )
            time.sleep(LOOK_INTERVAL_S)

    def _knows_all(self, process: ServerProcess) -> bool:
        """Whether a broker tells clients of all brokers and of a controller."""
        with suppress(ToolError), RawClient(process.address) as client:
            answer = client.request(METADATA, {"topics": []})
            self.cluster_id = answer.cluster_id or ""
            return len(answer.brokers) >= len(self._brokers) and answer.controller_id >= 0
        return False

    # -- running --

    def look(self) -> None:
        """Tell of members that have ended since the last look, and of those that somebody has started again."""
        for process in (self._zookeeper, *self._brokers):
            if process.runs:
                continue
            if not process.told:
                process.told = True
                self._log.error(
                    f"{process.name} ended", address=process.address, how=process.ended(), **self._remedy(process)
                )
            elif not process.returned and process.answers():
                process.returned = True
                self._log.info(f"{process.name} was started again elsewhere", address=process.address)
            elif process.returned and not process.answers():
                process.returned = False
                self._log.warning(f"{process.name} does not answer any more", address=process.address)

    def _remedy(self, process: ServerProcess) -> dict[str, str]:
        if process is self._zookeeper:
            return {"start_again": "end this command, and start it again"}
        files = self._layout.brokers[self._brokers.index(process)]
        return {"start_again": f"kafka-cy server {files.properties}"}

    def all_ended(self) -> bool:
        """Whether no broker that was started here is left, nor one that was started again elsewhere."""
        return not any(process.runs or process.returned for process in self._brokers)

    # -- stop --

    def stop(self) -> bool:
        """End the brokers one after the other, so that each hands over what it leads, then ZooKeeper. False: one was not clean."""
        clean = True
        for process in (*self._brokers, self._zookeeper):
            if process is self._zookeeper:
                self._tell_of_others()
            timeout_s = ZOOKEEPER_STOP_TIMEOUT_S if process is self._zookeeper else BROKER_STOP_TIMEOUT_S
            problem = process.stop(timeout_s)
            if problem is not None and not self._killed:
                clean = False
                self._log.error(f"{process.name} did not stop cleanly", how=problem)
        return clean and not self._killed

    def _tell_of_others(self) -> None:
        for process in self._brokers:
            if process.told and process.answers():
                self._log.warning(
                    f"{process.name} was started elsewhere and goes on without ZooKeeper", address=process.address
                )

    def kill(self) -> None:
        """End all at once, when the user does not want to wait. May be called from a signal handler while stop() waits."""
        self._killed = True
        for process in (*self._brokers, self._zookeeper):
            process.send_kill()


def _process_of(files: BrokerFiles) -> ServerProcess:
    command = [sys.executable, "-m", "kafka_cy", "server", str(files.properties), "--with-parent"]
    return ServerProcess(
        f"broker {files.number}", files.address, command, files.log,
        lambda: answers_api_versions(files.host, files.port, ANSWER_TIMEOUT_S),
    )  # fmt: skip
