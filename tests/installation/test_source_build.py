"""A build from source: what it says when the system lacks something, and what a source archive has."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the build in an environment in which it must refuse to start."""
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"], cwd=ROOT, env={**os.environ, **variables},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_missing_headers_are_named_with_their_packages(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nread line\ncase "$line" in *snappy-c.h*|*openssl*) exit 1;; esac\n')
    compiler.chmod(0o755)
    done = build(CC=str(compiler))
    assert done.returncode == 1
    assert done.stderr == (
        "kafka-cy cannot be built: openssl/ssl.h, snappy-c.h are missing; as root: "
        "apt-get install libssl-dev libsnappy-dev (Debian and Ubuntu), or "
        "dnf install openssl-devel snappy-devel (Fedora), or apk add openssl-dev snappy-dev (Alpine).\n"
    )


def test_a_missing_compiler_is_named() -> None:
    done = build(CC="no-such-compiler -O2")
    assert done.returncode == 1
    reason = "kafka-cy cannot be built: there is no C compiler (no-such-compiler); as root: apt-get install gcc libc6-dev "
    assert done.stderr.startswith(reason)
    # Without a compiler, the build cannot tell which headers are missing: one command installs everything.
    for package in ("python3-dev", "zlib1g-dev", "liblz4-dev", "libzstd-dev", "libsnappy-dev", "libssl-dev"):
        assert package in done.stderr


def test_the_source_archive_is_complete(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path],
        cwd=ROOT, env={**os.environ, "KAFKA_CY_COMMIT": "0123456789ab"}, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    archive = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
        commit = files.extractfile(f"{archive.name.removesuffix('.tar.gz')}/kafka_cy/_commit.py")
        assert commit is not None and b"COMMIT = '0123456789ab'" in commit.read()
    wanted = {"setup.py", "pyproject.toml", "LICENSE", "README.md"}
    listed = subprocess.run(["git", "ls-files", "kafka_cy"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted |= set(listed.stdout.split())
    assert sorted(wanted - names) == []
    assert not [name for name in names if name.endswith((".so", ".c"))]
    assert not (ROOT / "kafka_cy/_commit.py").exists()
