"""The links and headings of a Markdown page, as GitHub and the website read them."""

from __future__ import annotations

import re
from pathlib import Path

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose_of(page: Path) -> str:
    """The text of the page without its code."""
    without_blocks = re.sub(r"^( *)```.*?^ *```\s*?$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`(?!\])", "", without_blocks)


def links_of(page: Path) -> list[str]:
    """The target of each link and picture."""
    return _LINK.findall(prose_of(page))


def anchors_of(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them. Repeated headings get -1, -2 ..."""
    without_blocks = re.sub(r"^( *)```.*?^ *```\s*?$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    anchors = set()
    for title in re.findall(r"^#+ +(.+?)\s*$", without_blocks, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors
