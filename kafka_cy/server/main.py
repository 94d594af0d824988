"""`kafka-cy server`: runs a broker from the command line and returns an exit code.

Exit codes: 0 clean shutdown, 1 unexpected failure, 2 bad command line or configuration, 3 log directories that are
broken, not writable, held by another broker or of another cluster, 4 address taken, 5 the cluster (zookeeper.connect) cannot be
reached or does not take the broker.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kafka_cy.server.log import BrokerLog
from kafka_cy.server.port_file import PortFile, PortFileError
from kafka_cy.server.systemd import notify, notify_ready

if TYPE_CHECKING:
    from kafka_cy.server.parent import Parent

EXIT_CLEAN, EXIT_FAILED, EXIT_CONFIG, EXIT_DATA, EXIT_PORT, EXIT_CLUSTER = 0, 1, 2, 3, 4, 5

# How long a thread may keep the GIL when another wants it: bounds the control plane's latency (default 5 ms).
SWITCH_INTERVAL_S = 0.0005
SECOND_SIGNAL_AFTER_S = 1.0


def run(
    config_path: str | None,
    overrides: Mapping[str, str],
    log_level: str = "info",
    parent: Parent | None = None,
    cluster_id: str | None = None,
    port_file: PortFile | None = None,
) -> int:
    """Run a broker until SIGTERM, SIGINT or its parent's end; return the exit code (see above).

    `cluster_id` is the id of a cluster that does not exist yet. `port_file` is written when the broker is ready.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.disable()  # the start creates no garbage
    log = BrokerLog(log_level)
    from kafka_cy.cluster.store import StoreBroken
    from kafka_cy.config import BrokerConfig, ConfigError
    from kafka_cy.server.arrangement import ClusterRefused, DataRefused, StartFailed
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.server.http_pages import PortTaken
    from kafka_cy.server.secret_files import warn_of_readable_files
    from kafka_cy.server.start_lines import log_start

    try:
        config = BrokerConfig.load(config_path, overrides)
    except (ConfigError, OSError, ValueError) as error:
        log.error(f"bad configuration: {error}")
        return EXIT_CONFIG
    log.use_format(config["kafkacy.log.format"])
    log_start(log, config, config_path, overrides)
    for warning in config.warnings:
        log.warning(warning)
    warn_of_readable_files(log, config, config_path, overrides)
    # Block the signals before any thread exists, so that only the watcher receives them.
    stop_signals = _stop_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    broker = KafkaServer(config, log, cluster_id)
    stopping = _watch_signals(broker, log, stop_signals)
    if parent is not None:
        parent.watch()
    code = EXIT_FAILED
    try:
        broker.start()
        if port_file is not None:
            first = config.listeners[0]
            port_file.write(first.port or broker.bound_ports[first.name])
        if not stopping.is_set():
            _announce(broker, log)
            notify_ready(log.warning)
        gc.freeze()  # the objects of 10,000 partitions are never scanned again
        gc.enable()
        if not stopping.is_set():
            broker.run()
        code = EXIT_CLEAN
    except PortTaken as error:
        log.error(str(error))
        code = EXIT_PORT
    except (DataRefused, StoreBroken) as error:
        log.error(str(error))
        code = EXIT_DATA
    except ClusterRefused as error:
        if stopping.is_set():
            code = EXIT_CLEAN
        else:
            log.error(str(error))
            code = EXIT_CLUSTER
    except StartFailed as error:
        log.error(str(error))
    except ConfigError as error:
        log.error(f"bad configuration: {error}")
        code = EXIT_CONFIG
    except PortFileError as error:
        log.error(str(error))
        code = EXIT_CONFIG
    finally:
        begun = time.monotonic()
        if not broker.shutdown() and code == EXIT_CLEAN:
            code = EXIT_FAILED
        if code == EXIT_CLEAN:
            log.info("stopped", took_ms=round((time.monotonic() - begun) * 1000))
        if broker.otel is not None:
            broker.otel.finish()
        if port_file is not None:
            port_file.remove()
        log.flush()
        if parent is not None:
            parent.clean_up()
    return code


def _stop_signals() -> set[signal.Signals]:
    """SIGTERM, Ctrl-C, and the end of the terminal unless the broker was started with nohup.

    A signal that is both ignored and blocked is still delivered to sigwait, so nohup has to be looked for.
    """
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        stop_signals.add(signal.SIGHUP)
    return stop_signals


def _watch_signals(broker: object, log: BrokerLog, stop_signals: set[signal.Signals]) -> threading.Event:
    from kafka_cy.base.named_thread import NamedThread

    stopping = threading.Event()

    def watch() -> None:
        received = signal.sigwait(stop_signals)
        stopping.set()
        log.info("shutting down", signal=signal.Signals(received).name)
        notify("STOPPING=1")
        broker.stop()  # type: ignore[attr-defined]
        begun = time.monotonic()
        while time.monotonic() - begun < SECOND_SIGNAL_AFTER_S:  # terminals and `timeout` send the first signal twice
            signal.sigwait(stop_signals)
        log.warning("killed by a second signal before the shutdown was complete")
        os._exit(EXIT_FAILED)

    NamedThread(target=watch, name="signals", daemon=True).start()
    return stopping


def _announce(broker: object, log: BrokerLog) -> None:
    addresses = ",".join(f"{host}:{port}" for _, host, port in broker.addresses)  # type: ignore[attr-defined]
    cluster_id = broker.cluster.cluster_id  # type: ignore[attr-defined]
    took_ms = process_age_ms()
    log.info("ready", addresses=addresses, cluster_id=cluster_id, took_ms=took_ms)
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"kafka-cy ready: {addresses} cluster {cluster_id} in {took_ms} ms", flush=True)


def process_age_ms() -> int:
    """Return the milliseconds since the kernel started this process (resolution: 10 ms)."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        start_ticks = int(file.read().rpartition(")")[2].split()[19])
    return round((time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK")) * 1000)
