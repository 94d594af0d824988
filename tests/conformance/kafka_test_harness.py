"""Runs Apache Kafka's own integration tests against an external broker.

The tests come unchanged from the test jars that Apache Kafka publishes on Maven Central. A shim earlier on the class path
(`java/`) replaces the few classes with which the tests start their cluster, so that each test gets a fresh external broker.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache" / "conformance"
BASELINE = HERE / "apache-kafka-4.3.1.tsv"
CLASSES = HERE / "classes.txt"
CLASS_LIMIT_S = 900
JAVA = [
    "java",
    "-Xmx768m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    f"-Dlog4j2.configurationFile={HERE}/log4j2.yaml",
]
# Several brokers run at once, so none of them may listen on a fixed port.
KAFKA_CY = "server {config} --override kafkacy.metrics.listen= --override kafkacy.lag.listen="


class HarnessError(Exception):
    """The jars, the compiler or Java are missing or fail; the message names them and the log."""


class Verdict(NamedTuple):
    """The result of one test: `name` is Class#method[parameters], `verdict` is PASSED, FAILED or SKIPPED."""

    name: str
    verdict: str
    reason: str
    seconds: float
    changed: str  # for example "3 brokers as 1", "no broker" or "features 4.0-IV0"

    @property
    def class_name(self) -> str:
        return self.name.partition("#")[0]

    @property
    def method(self) -> str:
        """Class#method without the parameters."""
        return self.name.partition("[")[0]


class Expectation(NamedTuple):
    """A line of the baseline: Apache Kafka's own verdict as an external broker (PASSED, FLAKY, FAILED or SKIPPED)."""

    group: str
    result: Verdict

    @property
    def binding(self) -> bool:
        """Whether a Kafka broker has to pass this test: Apache Kafka passes it in every run, and the test uses a broker."""
        return self.result.verdict == "PASSED" and "no broker" not in self.result.changed


def read_verdicts(path: Path) -> list[Verdict]:
    """Parse the lines that the shim's RunClass wrote."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        name, verdict, reason, seconds, changed = (line.split("\t") + [""] * 5)[:5]
        found.append(Verdict(name, verdict, reason, float(seconds or 0), changed))
    return found


def read_baseline() -> list[Expectation]:
    """All tests with Apache Kafka's verdict."""
    found = []
    for line in BASELINE.read_text().splitlines():
        group, name, verdict, reason, seconds, changed = (line.split("\t") + [""] * 6)[:6]
        found.append(Expectation(group, Verdict(name, verdict, reason, float(seconds or 0), changed)))
    return found


def read_classes() -> dict[str, str]:
    """The group of each test class, in the order of classes.txt."""
    lines = [line.split() for line in CLASSES.read_text().splitlines() if line and not line.startswith("#")]
    return {name: group for group, name in lines}


def kafka_cy_command(python: str) -> str:
    """The shell command that starts this checkout's broker, which is installed for the interpreter `python`."""
    return f"{python} {HERE / 'kafka_cy_broker.py'} {Path(python).parent}/kafka-cy {KAFKA_CY}"


def prepare() -> None:
    """Fetch the jars and compile the shim, if that has not been done. HarnessError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for program in ("java", "javac", "jar"):
        if shutil.which(program) is None:
            raise HarnessError(f"{program} is missing (Debian: default-jdk-headless)")
    _fetch_jars()
    _compile_shim()


def _fetch_jars() -> None:
    done, pom = CACHE / "jars.complete", HERE / "pom.xml"
    if done.exists() and done.stat().st_mtime >= pom.stat().st_mtime:
        return
    if shutil.which("mvn") is None:
        raise HarnessError("mvn is missing (Debian: maven)")
    shutil.rmtree(CACHE / "libs", ignore_errors=True)
    _logged(
        ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={CACHE}/libs"],
        "the test jars could not be fetched",
    )
    done.touch()


def _compile_shim() -> None:
    shim, classes = CACHE / "shim.jar", CACHE / "classes"
    sources = sorted((HERE / "java").rglob("*.java"))
    newest = max(path.stat().st_mtime for path in [*sources, CACHE / "jars.complete"])
    if shim.exists() and shim.stat().st_mtime > newest:
        return
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir()
    failed = "the shim does not compile"
    files = [str(path) for path in sources]
    _logged(["javac", "-nowarn", "-Xlint:-options", "-d", str(classes), "-cp", f"{CACHE}/libs/*", *files], failed)
    _logged(["java", "-cp", f"{classes}:{CACHE}/libs/*", "conformance.Patch", str(classes)], failed)
    _logged(["jar", "cf", str(CACHE / "shim.jar.new"), "-C", str(classes), "."], failed)
    (CACHE / "shim.jar.new").replace(shim)


def _logged(command: Sequence[str], failure: str) -> None:
    log = CACHE / "prepare.log"
    with open(log, "ab") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        raise HarnessError(f"{failure}, see {log}")


def run_classes(
    tests: Iterable[str], broker: str, folder: Path, parallel: int = 1, *, keep: bool = False, progress: bool = False
) -> list[Verdict]:
    """Run test methods (Class#method) or whole classes (Class), one JVM for each class, `parallel` classes at once.

    `broker` is the command that starts a broker. Logs, results and the brokers' folders go to `folder`; `keep` leaves
    the brokers' folders there. A class that takes longer than CLASS_LIMIT_S is ended, and the test that was running fails.
    """
    by_class: dict[str, set[str]] = {}
    for test in tests:
        by_class.setdefault(test.partition("#")[0], set()).update([test] if "#" in test else [])
    folder.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> list[Verdict]:
        verdicts = run_class(name, by_class[name], broker, folder, keep=keep)
        if progress:
            passed = sum(verdict.verdict == "PASSED" for verdict in verdicts)
            print(f"{passed:4} of {len(verdicts):4} passed  {name}", flush=True)
        return verdicts

    with ThreadPoolExecutor(parallel) as pool:
        return [verdict for verdicts in pool.map(one, by_class) for verdict in verdicts]


def run_class(name: str, methods: Collection[str], broker: str, folder: Path, *, keep: bool = False) -> list[Verdict]:
    """Run some methods of one class, or all if `methods` is empty, in a separate JVM."""
    results, log, temporary = folder / f"{name}.tsv", folder / f"{name}.log", folder / "tmp"
    trace = Path(f"{results}.trace")
    for path in (results, trace):
        path.unlink(missing_ok=True)
    temporary.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "CONFORMANCE_BROKER": broker,
        "CONFORMANCE_TMP": str(temporary),
        "CONFORMANCE_TESTS": f"^({'|'.join(re.escape(method) for method in sorted(methods))})$" if methods else "",
        "CONFORMANCE_TRACE": "1",
        "CONFORMANCE_SECURITY": "1",  # SASL_PLAINTEXT too
        **({"CONFORMANCE_KEEP": "1"} if keep else {}),
    }
    options = [f"-Djava.io.tmpdir={temporary}", "-cp", f"{CACHE}/shim.jar:{CACHE}/libs/*"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*JAVA, *options, "conformance.RunClass", str(results), name],
            cwd=temporary,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # the brokers are in the same process group
        )
        try:
            process.wait(CLASS_LIMIT_S)
            ending = f"the JVM ended early, see {log}"
        except subprocess.TimeoutExpired:
            ending = f"the class took longer than {CLASS_LIMIT_S} s"
        finally:
            _end_group(process)
    verdicts = read_verdicts(results) if results.exists() else []
    lines = trace.read_text().splitlines() if trace.exists() else []
    if not any(line.startswith("starts ") for line in lines):
        began = [line.split()[1] for line in lines if line.startswith("began ")]
        verdicts.append(Verdict(f"{began[-1] if began else name + '#'}[...]", "FAILED", ending, 0.0, ""))
    return verdicts


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
