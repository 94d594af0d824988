"""Apache Kafka as the external broker, and the file with its verdicts."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import kafka_test_harness as harness

ARCHIVE = harness.CACHE / "apache-kafka.jsa"
# The broker does not need them, and a shorter class path starts faster.
UNUSED_JARS = ("-test.jar", "test-common", "junit", "mockito", "byte-buddy", "connect-", "rocksdb", "hamcrest", "jdk18on")
JAVA = [
    *["java", "-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xlog:disable"],
    f"-Dlog4j2.configurationFile={harness.HERE}/log4j2.yaml",
]


def command() -> str:
    """The shell command that starts Apache Kafka, of the version of the tests, as one broker with its own controller."""
    jars = sorted((harness.CACHE / "libs").glob("*.jar"))
    jars = [jar for jar in jars if not any(unused in jar.name for unused in UNUSED_JARS)]
    path = ":".join(map(str, [harness.CACHE / "shim.jar", *jars]))
    if not ARCHIVE.exists() or ARCHIVE.stat().st_mtime < (harness.CACHE / "shim.jar").stat().st_mtime:
        _write_archive(path)
    return " ".join([*JAVA, f"-XX:SharedArchiveFile={ARCHIVE}", "-cp", path, "conformance.KafkaMain", "{config}"])


def _write_archive(path: str) -> None:
    """Start the broker once and let Java keep its loaded classes in a file; with it, each start takes half the time."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = Path(folder) / "server.properties"
        config.write_text(
            f"node.id=0\nlisteners=EXTERNAL://localhost:{port}\nlistener.security.protocol.map=EXTERNAL:PLAINTEXT\n"
            f"inter.broker.listener.name=EXTERNAL\nunstable.feature.versions.enable=true\nlog.dirs={folder}/data\n"
        )
        arguments = [*JAVA, f"-XX:ArchiveClassesAtExit={ARCHIVE}", "-cp", path, "conformance.KafkaMain", str(config)]
        with open(harness.CACHE / "prepare.log", "ab") as output:
            broker = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            try:
                _await_listener(broker, port)
            finally:
                broker.terminate()
                broker.wait()


def _await_listener(broker: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit and broker.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise harness.HarnessError(f"Apache Kafka does not start, see {harness.CACHE}/prepare.log")


def save_verdicts(groups: dict[str, str], verdicts: Iterable[harness.Verdict]) -> None:
    """Add Apache Kafka's verdicts to the stored ones; `groups` has the group of each class.

    A test that passed in one run and failed in another is FLAKY.
    """
    stored = {expectation.result.name: expectation for expectation in harness.read_baseline()}
    for new in verdicts:
        old = stored[new.name].result if new.name in stored else new
        if old.verdict == "FLAKY":
            new = old
        elif {old.verdict, new.verdict} == {"PASSED", "FAILED"}:
            new = new._replace(verdict="FLAKY", reason=f"passes in some runs: {old.reason or new.reason}")
        stored[new.name] = harness.Expectation(groups[new.class_name], new)
    order = {name: index for index, name in enumerate(groups)}
    lines = [
        "\t".join([group, test.name, test.verdict, test.reason, f"{test.seconds:.1f}", test.changed]) + "\n"
        for group, test in sorted(stored.values(), key=lambda expectation: order[expectation.result.class_name])
    ]
    harness.BASELINE.write_text("".join(lines))
