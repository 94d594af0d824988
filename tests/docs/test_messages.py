"""The messages on the pages about troubleshooting and the log are those of the program."""

from __future__ import annotations

import re

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SECTION = PAGE.partition("## The broker does not start")[2].partition("\n## ")[0]
PROBE = PAGE.partition("names the cause within a second")[2].partition("\n\n")[0]
# They come from the operating system, the shell and Python.
FOREIGN = {
    "No such file or directory",
    "Address already in use",
    "command not found",
    "No module named 'confluent_kafka'",
    "No module named 'kafka_cy.storage",
}


def messages() -> list[str]:
    """The fixed parts of the messages in the first column, and of the causes that the tools name."""
    cells = [line.split("|")[1] for line in SECTION.splitlines() if line.startswith("| `")]
    texts = [text for cell in [*cells, PROBE] for text in re.findall(r"`([^`]+)`", cell)]
    parts = [part.strip(" :?,()") for text in texts for part in re.split(r"\.\.\.|: ", text)]
    return [part for part in parts if len(part) > 8 and part not in FOREIGN | {"ModuleNotFoundError"}]


@pytest.fixture(scope="module")
def sources() -> str:
    files = [path for suffix in ("py", "pyx") for path in (ROOT / "kafka_cy").rglob(f"*.{suffix}")]
    # Literals that span two lines, and the values in f-strings, do not matter.
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))


@pytest.mark.parametrize("message", messages())
def test_the_message_exists(message: str, sources: str) -> None:
    assert message in sources


def log_lines() -> list[str]:
    """The lines that docs/log.md lists, without what follows a colon or an ellipsis."""
    page = (ROOT / "docs/log.md").read_text().partition("## What it tells")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[1] for line in page.splitlines() if re.match(r"\| (debug|info|warning|error) ", line)]
    return [text.partition(": ...")[0] for cell in cells for text in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("line", log_lines())
def test_a_line_of_the_log_exists(line: str, sources: str) -> None:
    assert f'"{line}' in sources


def test_the_page_about_the_log_has_every_error() -> None:
    server = "".join(path.read_text() for path in (ROOT / "kafka_cy/server").glob("*.py") if path.name != "adopt.py")
    found = set(re.findall(r'\.(?:error|repeated)\(\s*(?:"error",\s*)?"([a-z][^"]{20,})"', server))
    page = (ROOT / "docs/log.md").read_text()
    assert len(found) > 5
    assert sorted(line for line in found if line not in page) == []
