"""Finds the code blocks of a Markdown page, and the comment that says how a test runs each one.

A block in `sh` or `python` is run as it is. An HTML comment right above it can change that:

    <!-- not run: REASON -->            the block is not run; the tests list the reason
    <!-- needs: kcat, openssl -->       the block needs these programs; the interop tests run it
    <!-- run as: pytest -->             pytest runs the block
    <!-- run until: TEXT -->            the block runs for ever. It gets SIGINT when it has printed TEXT, and must exit with 0
    <!-- run in background until: TEXT -->  the same, but it runs until the page starts another such block, or ends
    <!-- file: NAME -->                 the block, in any language, is written to this file, for the blocks after it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN_LANGUAGES = ("sh", "python")
DIRECTIVES = ("not run", "needs", "run as", "run until", "run in background until", "file")
_FENCE = re.compile(r"^( *)```(\S*)\s*$")
_COMMENT = re.compile(r"^ *<!-- (?P<name>[a-z ]+): (?P<value>.+?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, the line of its fence, language, text, and the directives above it."""

    page: Path
    line: int
    language: str
    text: str
    directives: dict[str, str]

    @property
    def where(self) -> str:
        """`docs/page.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_command(self) -> bool:
        """Whether a reader is meant to run the block."""
        return self.language in RUN_LANGUAGES and "file" not in self.directives

    @property
    def is_run(self) -> bool:
        """Whether a test runs the block."""
        return self.is_command and "not run" not in self.directives

    @property
    def is_preparation(self) -> bool:
        """Whether other blocks need the block: it writes a file or runs a server for the rest of the page."""
        return "file" in self.directives or "run in background until" in self.directives

    @property
    def programs(self) -> list[str]:
        """Foreign programs that the block needs."""
        return [name.strip() for name in self.directives.get("needs", "").split(",") if name.strip()]


def pages() -> list[Path]:
    """Every page for readers: README and its neighbours, and docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """All blocks of the page in order. Raises ValueError for a fence that is not closed and for an unknown directive."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    directives: dict[str, str] = {}
    position = 0
    while position < len(lines):
        line = lines[position]
        opening, comment = _FENCE.match(line), _COMMENT.match(line)
        if opening:
            end = next((at for at in range(position + 1, len(lines)) if lines[at].strip() == "```"), None)
            if end is None:
                raise ValueError(f"{page}:{position + 1}: the block is not closed")
            indent = len(opening[1])
            text = "\n".join(each[indent:] if each[:indent].isspace() else each for each in lines[position + 1 : end])
            found.append(Block(page, position + 1, opening[2], text + "\n", directives))
            position = end
        if comment and comment["name"] in DIRECTIVES:
            directives = {**directives, comment["name"]: comment["value"]}
        elif comment and re.match(r"(not )?run\b|file\b|needs?\b", comment["name"]):
            raise ValueError(f"{page}:{position + 1}: unknown directive {comment['name']}")
        elif line.strip():
            directives = {}
        position += 1
    return found
