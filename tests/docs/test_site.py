"""The website of the documentation (`make docs`) is built without a warning, and its links lead somewhere."""

from __future__ import annotations

import os
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

PYTHON = ROOT / ".cache" / "docs-venv" / "bin" / "python"


class PageParser(HTMLParser):
    """Collects the ids and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(values["id"] or "")
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")


@pytest.mark.interop
def test_the_website(tmp_path: Path) -> None:
    if not PYTHON.exists():
        message = "Sphinx is missing (scripts/install-test-tools.sh)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    site = tmp_path / "site"
    built = subprocess.run(
        [PYTHON, ROOT / "scripts" / "docs_site" / "build.py", site], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path.name: PageParser(path.read_text()) for path in site.glob("*.html")}
    assert {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")} <= pages.keys()
    assert broken_links(pages) == []


def broken_links(pages: dict[str, PageParser]) -> list[tuple[str, str]]:
    """Page and target of each link that leads to no page of the site, or to no place in it."""
    broken = []
    for name, page in pages.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            target = pages.get(path or name)
            if "://" not in link and (target is None or (anchor and anchor not in target.ids)):
                broken.append((name, link))
    return broken
