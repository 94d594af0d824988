"""Builds the documentation as a static website: scripts/docs_site/build.py TARGET (`make docs`). Needs the extra `docs`.

The pages are docs/*.md and the pages of the repository that they link to. A link to any other file of the repository, which the
website does not have, becomes plain text. Sphinx treats every warning as an error, so that a broken link fails the build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OTHER_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/RESULTS.md")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def site_name(page: Path) -> str:
    """The name of a page on the website, where all pages are in one folder."""
    return "benchmark-results.md" if page.name == "RESULTS.md" else page.name


def prepared(page: Path) -> str:
    """The text of the page with the links of the website."""
    on_site = {ROOT / name for name in OTHER_PAGES} | set((ROOT / "docs").glob("*.md"))

    def link(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        path, hash_sign, anchor = target.partition("#")
        if not path or "://" in path:
            return match[0]
        file = (page.parent / path).resolve()
        return f"[{text}]({site_name(file)}{hash_sign}{anchor})" if file in on_site else text

    return _LINK.sub(link, page.read_text())


def contents(index: Path) -> str:
    """A table of contents for the navigation, in the order of the index page: one for each of its sections."""
    text = prepared(index)
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    trees = []
    listed: set[str] = set()
    for section in sections:
        title, _, body = section.partition("\n")
        names = [name for name in dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)\)", body)) if name not in listed]
        listed.update(names)
        lines = "\n".join(name.removesuffix(".md") for name in names)
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n")
    return "\n".join(trees)


def main() -> int:
    target = Path(sys.argv[1]).absolute()
    source = target.parent / "site-source"
    for folder in (source, target):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "images", source / "images")
    for page in [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in OTHER_PAGES)]:
        (source / site_name(page)).write_text(prepared(page))
    with open(source / "index.md", "a") as index:
        index.write("\n" + contents(ROOT / "docs" / "index.md"))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", str(HERE)]
    code = subprocess.run([*command, str(source), str(target)], check=False).returncode
    if code == 0:
        print(f"{target}/index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
