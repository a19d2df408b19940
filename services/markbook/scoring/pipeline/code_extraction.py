"""Which part of a completion is the code: the same text is judged, marked and hashed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from markbook.contract import ExtractedFrom
from markbook.scoring.heuristics.fences import fence_lines
from markbook.scoring.languages import canonical

EXTRACTOR_VERSION = "2"
"""Part of the profile: a change in what is extracted is another mark."""

_MOST_FENCES = 1000  # a completion of nothing but fences must not hold the service
_TAG = re.compile(r"[{.\s]*([\w+#.-]*)")


class Extraction(NamedTuple):
    """The code, and which text of the completion it is."""

    code: str
    extracted_from: ExtractedFrom


@dataclass(frozen=True, slots=True)
class _Block:
    tag: str
    code: str
    closed: bool
    start: int


def extract(completion: str, language: str) -> Extraction:
    """The code in `completion`; `language` is canonical.

    Of several blocks it is the longest of those tagged with the language, or else the longest.
    Fences inside a comment or a string of the language are code, not fences.
    """
    blocks = list(_blocks(completion, language))
    if not blocks:
        return Extraction(completion, ExtractedFrom.COMPLETION)
    tagged = [block for block in blocks if block.tag and canonical(block.tag) == language]
    chosen = max(tagged or blocks, key=lambda block: len(block.code.strip()))
    if not chosen.closed and not chosen.tag and len(blocks) == 1:
        before = completion[: chosen.start]
        if before.count("\n") > 1 and len(before.strip()) > len(chosen.code.strip()):
            return Extraction(before, ExtractedFrom.BEFORE_FENCE)
    return Extraction(
        chosen.code, ExtractedFrom.BLOCK if chosen.closed else ExtractedFrom.BLOCK_CUT_OFF
    )


def _blocks(text: str, language: str) -> Iterator[_Block]:
    fences = islice(fence_lines(text, language), _MOST_FENCES)
    for opening in fences:
        closing = next((fence for fence in fences if _closes(fence, opening)), None)
        code = text[opening.end() : closing.start() if closing else len(text)]
        tag = _TAG.match(opening["info"])
        yield _Block(
            tag[1] if tag else "",
            _outdent(code, opening["indent"]),
            closing is not None,
            opening.start(),
        )


def _closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    return fence["fence"].startswith(opening["fence"]) and not fence["info"].strip()


def _outdent(code: str, indent: str) -> str:
    if not indent:
        return code
    return "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
