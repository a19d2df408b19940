"""Which part of a completion is the code: the same text is judged, marked and hashed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from services.scoring.heuristics.lexing import next_fence
from services.scoring.languages import canonical

EXTRACTOR_VERSION = "1"
"""Part of the profile: a change in what is extracted is another mark."""

_FENCE_LINE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\n]*)(?:\n|\Z)")
_TAG = re.compile(r"[{.\s]*([\w+#.-]*)")


@dataclass(frozen=True, slots=True)
class Extraction:
    """The code, and how it was found.

    `raw`: the completion as it is. `fenced`: a fenced block. `unclosed_fence`: a block that the end of the completion
    cut off. `before_fence`: what stands before a closing fence that nothing opened.
    """

    code: str
    how: str


@dataclass(frozen=True, slots=True)
class _Block:
    tag: str
    code: str
    closed: bool
    start: int


def extract(completion: str, language: str) -> Extraction:
    """The code in `completion`; `language` is canonical.

    Of several blocks it is the longest of those tagged with the language, or else the longest. Fences inside a comment
    or a string of the language are code, not fences.
    """
    blocks = list(_blocks(completion, language))
    if not blocks:
        return Extraction(completion, "raw")
    tagged = [block for block in blocks if block.tag and canonical(block.tag) == language]
    chosen = max(tagged or blocks, key=lambda block: len(block.code.strip()))
    if not chosen.closed and not chosen.tag and len(blocks) == 1:
        before = completion[: chosen.start]
        if before.count("\n") > 1 and len(before.strip()) > len(chosen.code.strip()):
            return Extraction(before, "before_fence")
    return Extraction(chosen.code, "fenced" if chosen.closed else "unclosed_fence")


def _blocks(text: str, language: str) -> Iterator[_Block]:
    at: int | None = 0
    while at is not None and (at := next_fence(text, at, language)) is not None:
        opening = _FENCE_LINE.match(text, at)
        assert opening is not None
        indent, fence, info = opening.groups()
        if fence[0] == "`" and "`" in info:  # ```a span of code```, no fence
            at = opening.end()
            continue
        end, after = _closing(text, opening.end(), fence, language)
        found = _TAG.match(info)
        yield _Block(
            found.group(1) if found else "", _outdent(text[opening.end() : end], indent), after is not None, at
        )
        at = after


def _closing(text: str, start: int, fence: str, language: str) -> tuple[int, int | None]:
    """Where the block's code ends, and where the text goes on: nowhere if no fence closes the block."""
    at: int | None = start
    while at is not None and (at := next_fence(text, at, language)) is not None:
        closing = _FENCE_LINE.match(text, at)
        assert closing is not None
        if closing.group(2).startswith(fence) and not closing.group(3).strip():
            return at, closing.end()
        at = closing.end()
    return len(text), None


def _outdent(code: str, indent: str) -> str:
    if not indent:
        return code
    return "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
