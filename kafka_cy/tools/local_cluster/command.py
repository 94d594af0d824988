"""`kafka-cy cluster start`: the command line, signals and exit codes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.exec_command import LOOK_INTERVAL_S, run_with_broker
from kafka_cy.tools.local_cluster import zookeeper
from kafka_cy.tools.local_cluster.cluster import Interrupted, LocalCluster
from kafka_cy.tools.local_cluster.layout import BROKERS_MAX, PORT_MAX, Layout

if TYPE_CHECKING:
    from kafka_cy.server.log import BrokerLog

FIRST_PORT = 9092
DEFAULT_FOLDER = Path("data/cluster")  # a single broker has its data in ./data
EXIT_FAILED = 1


@click.command("start")
@click.argument("brokers", type=click.IntRange(1, BROKERS_MAX), metavar="BROKERS")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_FOLDER, show_default=True,
    help="The cluster's folder. A later start with it continues the same cluster.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(1, PORT_MAX), default=FIRST_PORT, show_default=True,
    help="Port of the first broker of a new cluster; the others have the next ones.",
)  # fmt: skip
@click.option(
    "--zookeeper", "zookeeper_folder", envvar="KAFKACY_ZOOKEEPER", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder with ZooKeeper's jars: an unpacked Apache ZooKeeper or Apache Kafka 3, or what Maven copied "
    "(default: Debian's package).",
)  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD [ARG]...]")
def start(brokers: int, folder: Path, port: int, zookeeper_folder: Path | None, words: tuple[str, ...]) -> None:
    """Run a cluster on this machine: one ZooKeeper and BROKERS brokers, until Ctrl-C.

    With CMD: until CMD has ended, which finds the brokers' addresses in KAFKA_BOOTSTRAP_SERVERS; the exit code is that of CMD.
    """
    from kafka_cy.server.log import BrokerLog

    java, class_path = zookeeper.find_java(), zookeeper.find_jars(zookeeper_folder)
    log = BrokerLog()
    try:
        layout = Layout(folder)
        layout.prepare(brokers, port)
    except OSError as error:
        raise ToolError(f"The folder of the cluster cannot be used: {error}.") from error
    signals = StopSignals(log)
    cluster = LocalCluster(layout, java, class_path, log, signals.stopping.is_set)
    signals.on_second = cluster.kill
    log.info("starting a cluster", brokers=brokers, dir=str(layout.folder))
    code = 0
    try:
        begun = time.monotonic()
        cluster.start()
        took_ms = round((time.monotonic() - begun) * 1000)
        click.echo(f"kafka-cy cluster ready: {cluster.bootstrap_servers} cluster {cluster.cluster_id} in {took_ms} ms")
        if words:
            code = run_with_broker(list(words), cluster.bootstrap_servers, cluster.look)
        else:
            code = _run(cluster, signals.stopping, log)
        cluster.look()  # what ended by itself is told, and is no failure of the stop
    except Interrupted:
        pass
    finally:
        begun = time.monotonic()
        if not cluster.stop():
            code = code or EXIT_FAILED
        log.info("stopped", took_ms=round((time.monotonic() - begun) * 1000))
        log.flush()
    raise click.exceptions.Exit(code)


def _run(cluster: LocalCluster, stopping: threading.Event, log: BrokerLog) -> int:
    """Watch the members until a signal comes; the exit code."""
    while not stopping.wait(LOOK_INTERVAL_S):
        cluster.look()
        if cluster.all_ended():
            log.error("no broker is left")
            return EXIT_FAILED
    return 0


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP: the first one sets `stopping`, a later one calls `on_second`.

    Terminals and `timeout` send the first signal twice.
    """

    SECOND_AFTER_S = 1.0

    def __init__(self, log: BrokerLog) -> None:
        self.stopping = threading.Event()
        self.on_second: Callable[[], object] = self.stopping.set  # until there is something to kill
        self._log = log
        self._first = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.stopping.is_set():
            self._first = now
            self.stopping.set()
            self._log.info("shutting down", signal=signal.Signals(number).name)
        elif now - self._first >= self.SECOND_AFTER_S:
            self._log.warning("killed by a second signal before the shutdown was complete")
            self.on_second()
