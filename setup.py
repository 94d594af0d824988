"""Builds the Cython extensions of kafka-cy; pyproject.toml has everything else about the package.

Environment:
  KAFKA_CY_PACKAGES=records,storage   build only these sub-packages
  KAFKA_CY_SANITIZE=address|thread    instrumented build under build/<sanitizer>/ (`python setup.py build`)
  KAFKA_CY_COMMIT=...                 the commit that `kafka-cy --version` shows, where git cannot say it

A file is rebuilt only when it changes, or a .pxd that it cimports. A Cython performance hint in a hot package (code that
must never need the GIL) fails the build. A wheel takes extensions that are built in place already, without debug symbols
and without the modules that only tests use (`*_probe`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.modified import newer_group

PACKAGES = (
    "base", "authorizer", "records", "storage", "quota", "network", "replication", "api", "coordinator", "share", "telemetry",
    "bench",
)
HOT_PACKAGES = ("base", "authorizer", "records", "storage", "quota", "network", "replication", "share", "api", "bench")
LIBRARIES = {"records": ["z", "lz4", "zstd", "snappy"], "network": ["ssl", "crypto"]}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
# Without debug information (-g0; Python's own flags have -g): a build takes a quarter less time and an eighth of the space.
# KAFKA_CY_SANITIZE asks for it again.
COMPILE_FLAGS = ["-O3", "-g0", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function", "-std=gnu11"]
LINK_FLAGS = ["-Wl,--as-needed"]  # a library is a dependency of the extensions that call it, not of the whole package
JOBS = min(2, os.cpu_count() or 1)
ROOT = Path(__file__).parent
COMMIT_FILE = "kafka_cy/_commit.py"

# Header -> the package that has it, in each of SYSTEMS.
SYSTEMS = {"Debian and Ubuntu": "apt-get install", "Fedora": "dnf install", "Alpine": "apk add"}
PYTHON_HEADER = {"Python.h": ("python3-dev", "python3-devel", "python3-dev")}
HEADERS = {
    "records": {
        "zlib.h": ("zlib1g-dev", "zlib-devel", "zlib-dev"),
        "lz4frame.h": ("liblz4-dev", "lz4-devel", "lz4-dev"),
        "zstd.h": ("libzstd-dev", "libzstd-devel", "zstd-dev"),
        "snappy-c.h": ("libsnappy-dev", "snappy-devel", "snappy-dev"),
    },
    "network": {"openssl/ssl.h": ("libssl-dev", "openssl-devel", "openssl-dev")},
}
COMPILER_PACKAGES = ("gcc libc6-dev", "gcc", "gcc musl-dev")

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


def check_requirements(packages: list[str]) -> None:
    """Exit with one sentence that names the missing packages of the system, before anything is compiled."""
    needed = dict(PYTHON_HEADER)
    for package in packages:
        needed |= HEADERS.get(package, {})
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:  # and nothing else that could tell which headers are missing
        refuse_build(f"there is no C compiler ({compiler[0]})", [COMPILER_PACKAGES, *needed.values()])
    flags = shlex.split(f"{os.environ.get('CPPFLAGS', '')} {os.environ.get('CFLAGS', '')}")
    flags += [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    missing = []
    for header in needed:
        done = subprocess.run(
            [*compiler, *flags, "-E", "-x", "c", "-"], input=f"#include <{header}>\n", text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            missing.append(header)
    if missing:
        reason = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        refuse_build(reason, [needed[header] for header in missing])


def refuse_build(reason: str, packages: list[tuple[str, ...]]) -> None:
    """Exit with the reason, and how to install the packages: a tuple has the names in each of SYSTEMS."""
    commands = [
        f"{command} {' '.join(names)} ({system})"
        for (system, command), names in zip(SYSTEMS.items(), zip(*packages, strict=True), strict=True)
    ]
    sys.exit(f"kafka-cy cannot be built: {reason}; as root: {', or '.join(commands)}.")


def commit() -> str | None:
    """The commit that is built, None if it is not known."""
    given = os.environ.get("KAFKA_CY_COMMIT")
    if given or not (ROOT / ".git").exists():
        return given or None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None


def write_commit(folder: str) -> None:
    """Write the commit for kafka_cy/version.py. A source archive keeps the one that it was made with."""
    if found := commit():
        path = Path(folder, COMMIT_FILE)
        path.unlink(missing_ok=True)  # may be a hard link to a file of the checkout
        path.write_text(f'"""Written by setup.py."""\n\nCOMMIT = {found!r}\n')


@contextlib.contextmanager
def build_locks(packages: list[str]) -> Iterator[None]:
    """Allow only one build at a time per sub-package (or kind of wheel), because two builds would write the same files."""
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
        check_requirements(packages)
        with build_locks(packages):
            self.extensions = [each for each in translate(packages) if not self.is_for_wheel() or is_shipped(each.name)]
            self.check_extensions_list(self.extensions)
            for extension in self.extensions:
                extension._full_name = self.get_ext_fullname(extension.name)
                extension._links_to_dynamic = False
                extension._needs_stub = False
            self.parallel = self.parallel or JOBS
            super().run()

    def is_for_wheel(self) -> bool:
        return getattr(self.distribution, "is_wheel", False)

    def build_extension(self, extension: Extension) -> None:
        """Compile, unless the extension is built in place already."""
        target = Path(self.get_ext_fullpath(extension.name))
        in_place = Path(self.get_ext_filename(self.get_ext_fullname(extension.name)))
        depends = [*extension.sources, *extension.depends]
        if not newer_group(depends, str(target), "newer"):
            return
        if in_place.exists() and not sanitizer and not newer_group(depends, str(in_place), "newer"):
            self.mkpath(str(target.parent))
            self.copy_file(str(in_place), str(target))
        else:
            super().build_extension(extension)
        if self.is_for_wheel():
            subprocess.run([os.environ.get("STRIP", "strip"), "--strip-unneeded", target], check=True)


def is_shipped(name: str) -> bool:
    """Whether a wheel has this module; some serve only tests."""
    return not name.endswith("_probe")


class BuildPython(build_py):
    """A build_py that records the commit."""

    def run(self) -> None:
        super().run()
        if getattr(self.distribution, "is_wheel", False):
            write_commit(self.build_lib)


class BuildWheel(bdist_wheel):
    """A bdist_wheel with a build folder of its own, which has nothing of other builds."""

    def run(self) -> None:
        build = self.get_finalized_command("build")
        name = f"wheel.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
        build.build_lib = str(build_base / name)
        self.distribution.is_wheel = True
        with build_locks([name]):
            shutil.rmtree(build.build_lib, ignore_errors=True)
            super().run()


class SourceArchive(sdist):
    """An sdist that records the commit."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(base_dir)


setup(
    ext_modules=[Extension(e.name, e.sources) for e in extensions(chosen_packages())],
    cmdclass={
        "bdist_wheel": BuildWheel,
        "build_ext": BuildExtensions,
        "build_py": BuildPython,
        "sdist": SourceArchive,
    },
    options={"build": {"build_base": str(build_base)}},
)
