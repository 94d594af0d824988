"""The extractor finds the blocks of a page and their directives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_blocks_with_and_without_a_directive(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        "<!-- not run: it needs a container runtime -->\n\n```sh\ndocker run\n```\n\n"
        "text\n\n```python\nprint(1)\n```\n\n1. step\n\n   ```sh\n   cat <<END\n     x\n   END\n   ```\n",
    )
    first, second, third = blocks_of(page)
    assert (first.directives, first.line, first.is_run) == ({"not run": "it needs a container runtime"}, 3, False)
    assert (second.directives, second.language, second.text) == ({}, "python", "print(1)\n")
    assert third.text == "cat <<END\n  x\nEND\n"


def test_a_directive_holds_for_the_next_block_only(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        "<!-- needs: kcat, openssl -->\n<!-- run until: up -->\n```sh\na\n```\n```sh\nb\n```\n"
        "<!-- not run: x -->\ntext\n```sh\nc\n```\n",
    )
    assert [block.programs for block in blocks_of(page)] == [["kcat", "openssl"], [], []]
    assert [block.directives.get("run until") for block in blocks_of(page)] == ["up", None, None]


@pytest.mark.parametrize("text", ["```sh\necho\n", "<!-- run never: x -->\n```sh\necho\n```\n"])
def test_an_open_block_or_unknown_directive_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md:1"):
        blocks_of(write(tmp_path, text))
