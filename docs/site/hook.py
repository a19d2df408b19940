"""Builds the site from the files of the repository: README is its first page, and links lead where
they did.

Links in the repository are relative to each file. In the site they lead to a page, or, where their
target is no page (config.yaml, deploy/…), to a copy of the file, so that nothing has to be fetched
from elsewhere.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"README.md": "index.md"} | {
    name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
}
"""Pages that are not in docs/: their place in the repository -> in the site."""
FILES = "files"
"""The folder of the site for copies of other files."""
_LINK = re.compile(
    r'(?P<start>\]\(|<img src=")(?P<target>(?![a-z]+:|#)[^)#"\s]+)(?P<rest>#[^)"]*)?'
)


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages outside docs/, and every other file that a page links to."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in OUTSIDE}
    for name, place in OUTSIDE.items():
        files.append(File.generated(config, place, content=pages[name]))
    pages |= {
        f"docs/{file.src_uri}": file.content_string
        for file in files.documentation_pages()
        if file.abs_src_path
    }
    targets = {
        _target(source, found["target"])
        for source, text in pages.items()
        for found in _LINK.finditer(text)
    }
    for target in sorted(targets - OUTSIDE.keys()):
        if not target.startswith("docs/") and (ROOT / target).is_file():
            files.append(
                File.generated(config, f"{FILES}/{target}", abs_src_path=str(ROOT / target))
            )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page with its links as the site needs them.

    Raises PluginError for one that leads nowhere.
    """
    place = page.file.src_uri
    source = next((name for name, uri in OUTSIDE.items() if uri == place), f"docs/{place}")

    def replaced(found: re.Match[str]) -> str:
        target = _target(source, found["target"])
        if not (ROOT / target).exists():
            raise PluginError(f"{source}: there is no {target}")
        if found["start"].startswith(
            "<img"
        ):  # raw HTML is not rewritten by mkdocs: relative to the page's folder
            return f"{found['start']}{target.removeprefix('docs/')}"
        where = (
            target.removeprefix("docs/")
            if target.startswith("docs/")
            else OUTSIDE.get(target, f"{FILES}/{target}")
        )
        if target == "docs/examples":  # a folder is no page
            where = "examples/trl_grpo.py"
        path = os.path.relpath(where, PurePosixPath(place).parent)
        return f"{found['start']}{path}{found['rest'] or ''}"

    return _LINK.sub(replaced, markdown)


def _target(source: str, link: str) -> str:
    """What a link of a file in the repository leads to, as a path in the repository."""
    return os.path.normpath(PurePosixPath(source).parent / link)
