"""Each link within the repository leads to a file, and to a heading of it. No network is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages
from tests.docs.links import anchors_of, links_of

PAGES = [*pages(), ROOT / "bench" / "RESULTS.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links_of(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or ROOT not in target.parents or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def test_the_index_names_every_page() -> None:
    listed = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links_of(ROOT / "docs" / "index.md")}
    assert (
        sorted(page.name for page in (ROOT / "docs").glob("*.md") if page not in listed and page.name != "index.md")
        == []
    )


def test_every_make_target_exists() -> None:
    rules = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert [(page, name) for page, name in sorted(named) if name not in targets] == []


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    titles = ["A full or broken disk?", "`kafka-cy top`, [x](y.md)", "Twice", "Twice"]
    page.write_text("```sh\n# no heading\n```\n\n" + "".join(f"## {title}\n\n" for title in titles))
    assert anchors_of(page) == {"a-full-or-broken-disk", "kafka-cy-top-x", "twice", "twice-1"}
