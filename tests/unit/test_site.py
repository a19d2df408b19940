"""The site that `make docs` builds: its navigation names every page, its links lead somewhere,
it fetches nothing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT

DOCS = ROOT / "docs"
OUTSIDE = {"index.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"}
"""Pages of the site whose files are beside docs/; index.md is README.md."""
_FETCHED = re.compile(
    r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="(?:https?:)?//[^"]+"|@import|url\(["\']?https?:'
)


def named(nav: Any) -> Iterator[str]:
    """The files that a navigation names, at any depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from named(each)


def test_the_navigation_names_every_page_once() -> None:
    nav = [*named(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])]
    assert sorted(nav) == sorted(
        {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | OUTSIDE
    )


def test_the_index_of_decisions_names_each_with_its_title_status_and_date() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    rows = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \| (.+?) \| (\d{4}-\d\d-\d\d) \|$", index, re.MULTILINE
    )
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [file for _, file, *_ in rows] == [record.name for record in records]
    assert [number for number, *_ in rows] == [
        f"{place:04}" for place in range(1, len(records) + 1)
    ]
    for record, (number, file, title, status, date) in zip(records, rows, strict=True):
        assert file.startswith(f"{number}-")
        heading, _, state, *_ = record.read_text().splitlines()
        assert heading.startswith(f"# {number}: {title}")
        assert state.startswith(f"Status: {status}. Date: {date}.")


@pytest.fixture(scope="module")
def mkdocs() -> Path:
    """The program that builds the site, which `make docs` installs."""
    made = subprocess.run(
        ["make", "build/docs-venv/installed"], cwd=ROOT, capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"mkdocs cannot be installed here: {made.stderr.strip().splitlines()[-2:]}")
    return ROOT / "build" / "docs-venv" / "bin" / "mkdocs"


@pytest.mark.long
def test_make_docs_builds_a_site_that_fetches_nothing(mkdocs: Path) -> None:
    made = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    pages = sorted((ROOT / "build" / "site").rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        assert not (found := _FETCHED.findall(page.read_text())), f"{page}: {found}"
    first = (ROOT / "build" / "site" / "index.html").read_text()
    assert "LLM-as-a-judge" in first
    local = re.findall(r'(?:src|href)="(?![a-z]+:)([^"#]+)', first)
    assert {"images/page-light.png", "files/config.yaml", "your-own.html"} <= set(local)
    for target in local:
        assert (ROOT / "build" / "site" / target).exists(), target


@pytest.mark.long
def test_a_link_that_leads_nowhere_fails_the_build(mkdocs: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in (
        "mkdocs.yml",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "config.yaml",
        "deploy",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    for each in DOCS.iterdir():
        if each.name not in ("page.md", "site"):
            (tmp_path / "docs" / each.name).symlink_to(each)
    (tmp_path / "docs" / "site").mkdir()
    (tmp_path / "docs" / "site" / "hook.py").write_text((DOCS / "site" / "hook.py").read_text())
    page = (DOCS / "page.md").read_text()
    for text, fault in (
        (page, ""),
        (page + "\n[x](gone.md)\n", "gone.md"),
        (page + "\n[x](tests.md#gone)\n", "#gone"),
    ):
        (tmp_path / "docs" / "page.md").write_text(text)
        command = [mkdocs, "build", "--strict", "--site-dir", str(tmp_path / "site")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode == 0) == (fault == ""), done.stdout + done.stderr
        assert fault in done.stdout + done.stderr
