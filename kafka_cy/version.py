"""The version of kafka-cy, as in pyproject.toml; reading it from the package's metadata would cost start time."""

from __future__ import annotations

VERSION = "0.1.0"


def commit() -> str | None:
    """Return the commit that this package was built from; in a checkout, the current one. None: not known.

    In a checkout this runs git, which takes some milliseconds.
    """
    built = built_commit()
    return _commit_of_checkout() if built is None else built or None


def built_commit() -> str | None:
    """Return the commit that the build wrote into `kafka_cy/_commit.py`; empty: not known. None: this is a checkout."""
    import importlib

    try:
        found: str = importlib.import_module("kafka_cy._commit").COMMIT
    except ImportError:
        return None
    return found


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


def version_line() -> str:
    """Return what `kafka-cy --version` prints."""
    import platform

    from kafka_cy.security.openssl_library import openssl_version

    details = [f"commit {commit() or 'unknown'}", f"Python {platform.python_version()}"]
    openssl = openssl_version()
    return f"kafka-cy {VERSION} ({', '.join([*details, openssl] if openssl else details)})"
