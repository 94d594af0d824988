"""Texts that clients choose and that are too long for a line: two of them must not look the same when they are cut."""

from __future__ import annotations

import hashlib


def cut_mark(digest: bytes) -> str:
    """What a text that was cut ends with; `digest`: SHA-256 of all of it."""
    return f"...(sha256 {digest[:8].hex()})"


def cut_text(text: str, chars_max: int) -> str:
    """The beginning of a text, with a mark if that is not all of it."""
    if len(text) <= chars_max:
        return text
    return text[:chars_max] + cut_mark(hashlib.sha256(text.encode(errors="replace")).digest())
