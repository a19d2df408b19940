"""Which part of a completion is the code: the same text is judged, marked and hashed."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXTRACTOR_VERSION = "1"

_FENCE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*\n(.*?)(?:^ {0,3}\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Extraction:
    """The code and where it was found: `raw`, `fenced` or `unclosed_fence`."""

    code: str
    how: str


def extract(completion: str, language: str) -> Extraction:
    """The code in a completion; `language` is canonical."""
    found = _FENCE.search(completion.replace("\r\n", "\n"))
    if not found:
        return Extraction(completion, "raw")
    closed = found.group(0).rstrip().endswith(found.group(1)) and found.group(3) != ""
    return Extraction(found.group(3), "fenced" if closed else "unclosed_fence")
