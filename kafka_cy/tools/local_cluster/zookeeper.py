"""Where this machine has a ZooKeeper, and the command and the settings of a server that serves it alone."""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from kafka_cy.tools.client import ToolError

DEBIAN = Path("/usr/share/java")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
INSTALL = (
    "install one (Debian: apt-get install zookeeper), or name a folder that has one with --zookeeper, such as an unpacked "
    "Apache ZooKeeper 3.8 or Apache Kafka 3.9"
)
JAR = re.compile(r"zookeeper(-\d[\w.]*)?\.jar")
ANSWER_BYTES_MAX = 4096


def find_java() -> str:
    """The command `java`. Raises ToolError."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    if found is None:
        raise ToolError("ZooKeeper needs Java, which was not found (Debian: apt-get install default-jre-headless).")
    return found


def find_jars(folder: Path | None) -> str:
    """The class path of a ZooKeeper: of the one in `folder`, else of Debian's package. Raises ToolError."""
    if folder is None:
        names = ("zookeeper.jar", "slf4j-simple.jar")  # the manifest of the first one names the others
        if not (DEBIAN / names[0]).exists():
            raise ToolError(f"No ZooKeeper was found: {INSTALL}.")
        return ":".join(str(DEBIAN / name) for name in names if (DEBIAN / name).exists())
    for place in (folder, folder / "lib", folder / "libs"):
        with suppress(OSError):
            if any(JAR.fullmatch(path.name) for path in place.iterdir()):
                return f"{place.absolute()}/*"
    raise ToolError(f"{folder} has no zookeeper-VERSION.jar (nor lib or libs in it): {INSTALL}.")


def settings(folder: Path, port: int) -> str:
    """The text of zoo.cfg. Nobody but this machine can connect."""
    return "".join(
        f"{line}\n"
        for line in (
            "tickTime=2000",
            f"dataDir={folder / 'data'}",
            f"clientPort={port}",
            "clientPortAddress=127.0.0.1",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=srvr,ruok,mntr",
            "autopurge.purgeInterval=1",
            "autopurge.snapRetainCount=3",
        )
    )


def port_of(text: str) -> int:
    """The port in a zoo.cfg. Raises ValueError."""
    found = re.search(r"^\s*clientPort\s*=\s*(\d+)\s*$", text, re.MULTILINE)
    if found is None:
        raise ValueError("it has no clientPort")
    return int(found[1])


def command(java: str, class_path: str, configuration: Path) -> list[str]:
    """The command line of a server."""
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # it starts sooner, and is small
    return [java, *options, "-cp", class_path, MAIN, str(configuration)]


def serves(port: int) -> bool:
    """Whether a ZooKeeper on this machine answers clients."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"srvr")
        return b"Mode:" in connection.recv(ANSWER_BYTES_MAX)
    return False
