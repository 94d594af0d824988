"""Builds the Cython extensions of kafka-cy; pyproject.toml has everything else about the package.

Environment:
  KAFKA_CY_PACKAGES=records,storage   build only these sub-packages
  KAFKA_CY_SANITIZE=address|thread    instrumented build under build/<sanitizer>/ (`python setup.py build`)

A file is rebuilt only when it changes, or a .pxd that it cimports. A Cython performance hint in a hot package (code that
must never need the GIL) fails the build.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGES = ("base", "records", "storage", "network", "api", "coordinator", "telemetry", "bench")
HOT_PACKAGES = ("base", "records", "storage", "network", "api", "bench")
LIBRARIES = {"records": ["z", "lz4", "zstd", "snappy"], "network": ["ssl", "crypto"]}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
COMPILE_FLAGS = ["-O3", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function", "-std=gnu11"]
LINK_FLAGS = ["-Wl,--as-needed"]  # a library is a dependency of the extensions that call it, not of the whole package
JOBS = min(2, os.cpu_count() or 1)

sanitizer = os.environ.get("KAFKA_CY_SANITIZE", "")
build_base = Path("build") / sanitizer if sanitizer else Path("build")
generated_dir = build_base / "cython"


def flags_of_sanitizer() -> list[str]:
    if sanitizer not in ("", "address", "thread"):
        sys.exit(f"KAFKA_CY_SANITIZE={sanitizer}: must be address or thread")
    if not sanitizer:
        return []
    flags = [f"-fsanitize={sanitizer}", "-fno-omit-frame-pointer", "-g", "-O1"]
    return [*flags, "-fsanitize=undefined", "-fno-sanitize=alignment"] if sanitizer == "address" else flags


def chosen_packages() -> list[str]:
    chosen = [name for name in os.environ.get("KAFKA_CY_PACKAGES", "").split(",") if name]
    unknown = sorted(set(chosen) - set(PACKAGES))
    if unknown:
        sys.exit(f"KAFKA_CY_PACKAGES: no extensions in {', '.join(unknown)}; packages with extensions: {', '.join(PACKAGES)}")
    return sorted(chosen or PACKAGES)


def extensions(packages: list[str]) -> list[Extension]:
    flags = flags_of_sanitizer()
    found = []
    for package in packages:
        for path in sorted(Path("kafka_cy", package).rglob("*.pyx")):
            found.append(
                Extension(
                    ".".join(path.with_suffix("").parts),
                    [str(path)],
                    include_dirs=["kafka_cy/records", str(path.parent)],
                    libraries=LIBRARIES.get(package, []),
                    extra_compile_args=[*COMPILE_FLAGS, *flags],
                    extra_link_args=[*LINK_FLAGS, *flags],
                )
            )
    return found


@contextlib.contextmanager
def build_locks(packages: list[str]) -> Iterator[None]:
    """Allow only one build at a time per sub-package, because two builds would write the same files."""
    build_base.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        for package in packages:
            lock = held.enter_context(open(build_base / f".{package}.lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def stderr_copy() -> Iterator[list[str]]:
    """Pass stderr of this process and its children through, and put the written text into the list."""
    text: list[str] = []
    saved = os.dup(2)
    with tempfile.TemporaryFile() as copy:
        os.dup2(copy.fileno(), 2)
        try:
            yield text
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            copy.seek(0)
            written = copy.read()
            os.write(2, written)
            text.append(written.decode(errors="replace"))


def translate(packages: list[str]) -> list[Extension]:
    """Translate Cython to C. The C file of a source with a hint is removed, so that the next build fails as well."""
    started = time.time()
    with stderr_copy() as messages:
        result = cythonize(
            extensions(packages), compiler_directives=DIRECTIVES, build_dir=str(generated_dir), nthreads=JOBS
        )
    hot = "|".join(HOT_PACKAGES)
    hinted = sorted(set(re.findall(rf"performance hint: \S*?(kafka_cy/(?:{hot})/\S+?):\d+", messages[0])))
    if hinted:
        for path in generated_dir.rglob("*.c"):
            if path.stat().st_mtime >= started - 1:
                path.unlink()
        sys.exit(f"Cython performance hints in hot code (see above): {', '.join(hinted)}")
    return result


class BuildExtensions(build_ext):
    """A build_ext that translates late (so that `sdist` and `--help` need no compiler) and compiles in parallel."""

    def run(self) -> None:
        packages = chosen_packages()
        with build_locks(packages):
            self.extensions = translate(packages)
            self.check_extensions_list(self.extensions)
            for extension in self.extensions:
                extension._full_name = self.get_ext_fullname(extension.name)
                extension._links_to_dynamic = False
                extension._needs_stub = False
            self.parallel = self.parallel or JOBS
            super().run()


setup(
    ext_modules=[Extension(e.name, e.sources) for e in extensions(chosen_packages())],
    cmdclass={"build_ext": BuildExtensions},
    options={"build": {"build_base": str(build_base)}},
)
