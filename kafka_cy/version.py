"""The version of kafka-cy, as in pyproject.toml; reading it from the package's metadata would cost start time."""

from __future__ import annotations

VERSION = "0.1.0"


def commit() -> str | None:
    """Return the commit that this package was built from; in a checkout, the current one. None: not known.

    A build writes it into `kafka_cy/_commit.py`. In a checkout this runs git, which takes some milliseconds.
    """
    import importlib

    try:
        found: str = importlib.import_module("kafka_cy._commit").COMMIT
    except ImportError:
        return _commit_of_checkout()
    return found or None


def _commit_of_checkout() -> str | None:
    import subprocess
    from pathlib import Path

    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def openssl_version() -> str | None:
    """Return the version of the OpenSSL that TLS listeners use, such as `OpenSSL 3.0.17 1 Jul 2025`. None: not known.

    A wheel has its own OpenSSL inside, which only a newer wheel updates.
    """
    import ctypes

    try:
        import kafka_cy.network.tls  # noqa: F401 (loads the library)

        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = {line.split(maxsplit=5)[5].strip() for line in file if "/libcrypto" in line}
        # Another package may have loaded another one; those of a wheel are in a folder of their own.
        path = min(paths, key=lambda each: ("kafka_cy.libs" not in each, each))
        function = ctypes.CDLL(path).OpenSSL_version
    except (ImportError, OSError, ValueError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    text: bytes = function(0)
    return text.decode(errors="replace")


def version_line() -> str:
    """Return what `kafka-cy --version` prints."""
    import platform

    details = [f"commit {commit() or 'unknown'}", f"Python {platform.python_version()}"]
    openssl = openssl_version()
    return f"kafka-cy {VERSION} ({', '.join([*details, openssl] if openssl else details)})"
