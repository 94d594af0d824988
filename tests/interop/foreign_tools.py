"""Where the foreign tools are, and what happens when one is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def require(present: object, what: str) -> None:
    """Skip when a foreign tool is not there; in CI, where it must be, fail."""
    if present:
        return
    message = f"{what} is missing (scripts/install-test-tools.sh)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
