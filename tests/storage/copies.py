"""Copies of folders in which a log works."""

from __future__ import annotations

import shutil


def copy_unless_renamed(source: str, target: str) -> None:
    """Copy a file; a flush in the background may rename a `.tmp` first. A crash just before it was written looks the same."""
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        if not source.endswith(".tmp"):
            raise
