"""The wheel for this interpreter: what is in it, and that it runs where lz4, zstd, snappy and OpenSSL are not installed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = ("liblz4", "libzstd", "libsnappy", "libssl", "libcrypto")
# Compiling takes minutes where the extensions are not built in place.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheels` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "scripts/build_wheels.sh", folder, sys.executable], env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with the wheel, and with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Links in a folder that a .pth names are not followed, so this checkout, if it is installed so, is not found.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_has_what_runs_and_no_more(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if re.match(r"kafka_cy/.*[^/]$", name)}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    listed = subprocess.run(["git", "ls-files", "kafka_cy"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {"kafka_cy/_commit.py"}
    for name in listed.stdout.split():
        if name.endswith(("_probe.pyx", "_probe.pyi", ".pxd", ".h")):
            continue
        wanted.add(name.removesuffix(".pyx") + suffix if name.endswith(".pyx") else name)
    assert {"kafka_cy/py.typed", "kafka_cy/config/server.properties", "kafka_cy/charts/page.css"} <= wanted
    assert sorted(names ^ wanted) == []


def test_the_wheel_installs_on_other_machines(wheel: Path) -> None:
    assert re.fullmatch(rf"kafka_cy-[\d.]+-cp\d+-cp\d+-(manylinux\w+_{os.uname().machine}\.?)+\.whl", wheel.name)
    libc, version = platform.libc_ver()
    if libc == "glibc" and tuple(map(int, version.split("."))) <= (2, 36):  # Debian 12, where releases are built
        assert "manylinux_2_34_" in wheel.name, "the extensions need functions of a newer C library"
    inside = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("kafka_cy.libs/")]
    assert sorted(re.findall(r"/(lib[a-z]+4?)", " ".join(inside))) == sorted(LIBRARIES)


def test_the_extensions_are_stripped(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    extensions = list(tmp_path.rglob("kafka_cy/**/*.so"))
    assert extensions
    for path in extensions:
        sections = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
        assert not re.search(r"\.(debug_info|symtab)\b", sections), path
    assert sum(path.stat().st_size for path in extensions) < 16 << 20


def hidden(command: list[str | Path]) -> list[str | Path]:
    """The command in a mount namespace in which the files of LIBRARIES cannot be loaded.

    Where the system allows no such namespace, the command as it is: the job itself checks that it loads the wheel's own files.
    """
    namespace = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        return [*command, "not hidden"]
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    paths = {os.path.realpath(path) for path in re.findall(r"=> (\S+)", known) if Path(path).name.startswith(LIBRARIES)}
    assert len(paths) >= len(LIBRARIES), "the libraries that the extensions were built with"
    mounts = "".join(f"mount --bind /dev/null '{path}' && " for path in sorted(paths))
    return [*namespace, "sh", "-c", mounts + 'exec "$@"', "sh", *command]


MAIN_JOB = """
import ctypes, subprocess, sys
for name in ("libsnappy.so.1", "liblz4.so.1", "libzstd.so.1") if sys.argv[1:] != ["not hidden"] else ():
    try:
        ctypes.CDLL(name)
    except OSError:
        continue
    sys.exit(f"{name} is not hidden")

import kafka_cy
from kafka_cy.version import version_line
print(version_line(), flush=True)
command = [sys.executable, "-m", "kafka_cy"]
with kafka_cy.Broker() as broker:
    where = ["--bootstrap-server", broker.bootstrap_servers]
    for codec in ("lz4", "snappy", "zstd", "gzip"):
        topic = ["--topic", codec]
        made = [*command, "topics", "create", codec, *where, "--config", f"compression.type={codec}"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*command, "produce", *where, *topic], input=f"by {codec}\\n", text=True, check=True)
        subprocess.run([*command, "consume", *where, *topic, "--from-beginning", "--max-messages", "1"], check=True)
    with open(f"/proc/{broker.pid}/maps") as maps:
        files = {line.split()[-1] for line in maps if "/" in line}
    names = ("liblz4", "libsnappy", "libzstd", "libssl", "libcrypto")
    own = [file.split("/")[-1] for file in files if "/kafka_cy.libs/" in file]
    foreign = [file for file in files if file.split("/")[-1].startswith(names) and "/kafka_cy.libs/" not in file]
    print("loaded", *sorted(own))
    print("foreign", *sorted(foreign))
"""


def test_the_main_job_without_the_libraries_of_the_system(python: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        hidden([python, "-c", MAIN_JOB]), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("%")]
    assert re.fullmatch(r"kafka-cy [\d.]+ \(commit [0-9a-f]+(-dirty)?, Python [\d.]+, OpenSSL [\w. ]+\)", lines[0])
    assert lines[1:5] == ["by lz4", "by snappy", "by zstd", "by gzip"], done.stdout + done.stderr
    for name in ("liblz4", "libsnappy", "libzstd"):
        assert name in lines[5]
    assert lines[6] == "foreign"


def test_the_command_and_the_module_are_the_same(python: Path, tmp_path: Path) -> None:
    commands = ([python.parent / "kafka-cy"], [python, "-m", "kafka_cy"])
    texts = [subprocess.run([*words, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True) for words in commands]
    assert texts[0].stdout == texts[1].stdout != ""
    usage = subprocess.run([*commands[1], "server", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--from-environment" in usage.stdout
