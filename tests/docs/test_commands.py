"""Every command in the documentation works as written, except for the ports. tests/docs/blocks.py has the exceptions.

The summary of a test run lists the blocks that are not run, with their reasons, as skipped.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks_of, pages
from tests.docs.page_run import PageRun

KAFKA_JARS = ROOT / ".cache" / "kafka-4.3.1"
BLOCKS = [block for page in pages() for block in blocks_of(page)]


def page_names(*, foreign: bool) -> list[str]:
    """Pages that have a command that needs a foreign program, or a command that needs none."""
    chosen = [block for block in BLOCKS if block.is_run and bool(block.programs) == foreign]
    return list(dict.fromkeys(str(block.page.relative_to(ROOT)) for block in chosen))


def run_page(folder: Path, name: str, *, foreign: bool) -> None:
    """Run the blocks of the page in order: those that need a foreign program, or those that need none; servers always."""
    blocks = [block for block in BLOCKS if block.page == ROOT / name]
    blocks = [block for block in blocks if bool(block.programs) == foreign or (foreign and block.is_preparation)]
    page = PageRun(folder, blocks)
    try:
        for block in blocks:
            if block.is_run or block.is_preparation:
                page.run(block)
    finally:
        page.close()


@pytest.mark.parametrize("name", page_names(foreign=False))
def test_commands_of(name: str, tmp_path: Path) -> None:
    run_page(tmp_path, name, foreign=False)


@pytest.mark.interop
@pytest.mark.parametrize("name", page_names(foreign=True))
def test_foreign_commands_of(name: str, tmp_path: Path) -> None:
    programs = {program for block in BLOCKS if block.page == ROOT / name for program in block.programs}
    require_programs(programs)
    run_page(tmp_path, name, foreign=True)


def require_programs(programs: set[str]) -> None:
    """Skip the test if one is missing; in CI, where they are required, fail."""
    missing = sorted(program for program in programs if not is_installed(program))
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} missing (scripts/install-test-tools.sh)")
    if missing:
        pytest.skip(f"{', '.join(missing)} missing (scripts/install-test-tools.sh)")


def is_installed(program: str) -> bool:
    """Whether a program is there; Apache Kafka's tools run from the jars of the interop tests."""
    if program.endswith(".sh"):
        return KAFKA_JARS.is_dir() and shutil.which("java") is not None
    return shutil.which(program) is not None


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if "not run" in block.directives], ids=lambda block: block.where
)
def test_is_not_run(block: Block) -> None:
    reason = block.directives["not run"]
    assert block.is_command and len(reason) > 15, f"{block.where} needs a reason"
    pytest.skip(f"{block.where} is not run: {reason}")


def test_every_block_has_a_language() -> None:
    # A block without a language could hide a command from the tests.
    assert [block.where for block in BLOCKS if not block.language] == []


@pytest.mark.parametrize("language", ["bash", "shell", "py", "console"])
def test_a_command_is_marked_sh_or_python(language: str) -> None:
    assert [block.where for block in BLOCKS if block.language == language] == []
