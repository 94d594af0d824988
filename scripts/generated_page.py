"""Shared by the scripts that generate a page in docs/."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(target: Path, text: str) -> int:
    """Write the page and return 0. With --check, return 0 if the page is current; otherwise print a message and return 1."""
    if "--check" not in sys.argv[1:]:
        target.write_text(text)
        return 0
    current = target.exists() and target.read_text() == text
    if not current:
        print(f"{target.name} is stale: run scripts/{Path(sys.argv[0]).name}")
    return 0 if current else 1
