"""What a broker that starts on this machine needs: its configuration, ports, folders and file descriptors."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kafka_cy.tools.doctor.check import FAIL, OK, WARN, Check
from kafka_cy.tools.doctor.cluster import disk_check
from kafka_cy.tools.doctor.port_owner import owner_of_port, process_name
from kafka_cy.tools.exposition import Samples

if TYPE_CHECKING:
    from kafka_cy.config import BrokerConfig

DESCRIPTORS_MIN = 4096
DESCRIPTORS_USED_WARN, DESCRIPTORS_USED_FAIL = 0.7, 0.9
FLOCK = "hhxxxxqqixxxx"  # struct flock of 64-bit Linux: type, whence, start, length, pid


def check_config(path: str | None, overrides: dict[str, str]) -> tuple[list[Check], BrokerConfig | None]:
    """(what was found, the configuration of a broker or None if it does not start with it)."""
    from kafka_cy.config import BrokerConfig, ConfigError
    from kafka_cy.server.http_pages import check_addresses

    try:
        config = BrokerConfig.load(path, overrides)
        check_addresses(config)
    except (ConfigError, OSError, ValueError) as error:
        return [
            Check(FAIL, "configuration", str(error), "correct this; kafka-cy server --check-config tries it again")
        ], None
    warnings = [Check(WARN, "configuration", each, "correct or remove the key") for each in config.warnings]
    return warnings or [Check(OK, "configuration", f"{path or 'the defaults'}: valid")], config


def check_ports(config: BrokerConfig, running: set[int]) -> list[Check]:
    """Whether the addresses are free. `running`: processes of the broker itself, which may have them."""
    from kafka_cy.server.http_pages import PAGES
    from kafka_cy.telemetry.http_server import parse_address

    wanted = [("listeners", listener.host, listener.port) for listener in config.listeners]
    for key in PAGES:
        if config[key]:
            wanted.append((key, *parse_address(config[key], key)))
    return [
        _port_check(key, host, port, running, default=key != "listeners" and key not in config.static)
        for key, host, port in wanted
        if port
    ]


def _port_check(key: str, host: str, port: int, running: set[int], *, default: bool) -> Check:
    from kafka_cy.network.listening import listening_socket, reason_of

    address = f"{host or '0.0.0.0'}:{port}"
    try:
        listening_socket(host, port, 1).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            owner = owner_of_port(port)
            if owner is not None and owner in running:
                return Check(OK, "ports", f"{address} ({key}): the running broker has it")
            by = f"process {owner} ({process_name(owner)})" if owner is not None else "another process"
            text = f"{address} ({key}) is in use by {by}"
            if default:  # the broker takes another port then
                return Check(WARN, "ports", f"{text}; the broker will take another port", f"set {key} to choose one")
            return Check(FAIL, "ports", text, f"stop it, or change {key}")
        remedy = {
            errno.EACCES: "ports below 1024 need a privilege: use another port",
            errno.EADDRNOTAVAIL: f"no network interface has this address: use 0.0.0.0 in {key}, and advertised.listeners",
        }
        text = f"{address} ({key}) cannot be used: {reason_of(error)}"
        return Check(FAIL, "ports", text, remedy.get(error.errno or 0, f"correct {key}"))
    return Check(OK, "ports", f"{address} ({key}) is free")


def check_folders(config: BrokerConfig) -> tuple[list[Check], set[int]]:
    """(permission, lock and disk of the log directories, the processes that hold their locks)."""
    checks: list[Check] = []
    holders: set[int] = set()
    for name in dict.fromkeys([*config.log_dirs, config["metadata.log.dir"]]):
        if not name:
            continue
        path = Path(name).absolute()
        holder = lock_holder(path / ".lock")
        if holder is not None:
            holders.add(holder)
            checks.append(Check(OK, "data folder", f"{path} is in use by process {holder} ({process_name(holder)})"))
        else:
            checks.append(_folder_check(path))
        if (place := _existing(path)) is not None:
            disk = os.statvfs(place)
            checks.append(
                disk_check(f"{path} on this machine", disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize)
            )
    return checks, holders


def _folder_check(path: Path) -> Check:
    user = f"user {os.geteuid()}"
    if path.exists() and not path.is_dir():
        return Check(FAIL, "data folder", f"{path} is not a folder", "use another log.dirs")
    place = _existing(path)
    if place is None or not os.access(place, os.W_OK | os.X_OK):
        text = f"{path} cannot be {'written' if path.exists() else 'created'} by {user}"
        return Check(FAIL, "data folder", text, f"chown {os.geteuid()} {place or path}, or use another log.dirs")
    if not path.exists():
        return Check(OK, "data folder", f"{path} does not exist yet, and can be created")
    return Check(OK, "data folder", f"{path} can be written, and no broker uses it")


def _existing(path: Path) -> Path | None:
    """The folder, or its nearest parent that exists."""
    return next((each for each in (path, *path.parents) if each.is_dir()), None)


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock file of a log directory. The lock is only looked at, never taken."""
    try:
        with open(path, "rb") as file:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except (OSError, struct.error):
        return None
    return int(pid) if kind != fcntl.F_UNLCK else None


def check_descriptors(metrics: Samples) -> list[Check]:
    """The file descriptors of the running brokers; if their metrics are not known, the limit of this shell."""
    limits = [value for _, value in metrics.of("process_max_fds")]
    used = [value for _, value in metrics.of("process_open_fds")]
    if limits and used:
        return [
            _descriptor_check("the broker", int(limit), int(each)) for limit, each in zip(limits, used, strict=False)
        ]
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [_descriptor_check("a broker started from this shell", soft if soft >= 0 else 1 << 30, 0)]


def _descriptor_check(subject: str, limit: int, used: int) -> Check:
    part = used / limit if limit else 1.0
    status = (
        FAIL
        if part > DESCRIPTORS_USED_FAIL
        else WARN
        if part > DESCRIPTORS_USED_WARN or limit < DESCRIPTORS_MIN
        else OK
    )
    text = f"{subject} may have {limit:,} file descriptors" + (f" and uses {used:,}" if used else "")
    remedy = "" if status == OK else "raise the limit: ulimit -n 100000, or LimitNOFILE in the systemd unit"
    return Check(status, "descriptors", text, remedy)


def worst(checks: Iterable[Check]) -> str:
    """The worst status."""
    return max((check.status for check in checks), key=(OK, WARN, FAIL).index, default=OK)
