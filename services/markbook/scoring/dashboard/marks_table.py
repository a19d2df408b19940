"""The dashboard's list of the latest marks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from markbook.scoring.dashboard import formatting
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import Cursor, Paid, Record
from markbook.scoring.store.export_import import to_wire

PAGE_SIZE = 12
ROW_PATTERN = r"^([0-9a-f]{2}){29,284}$"
"""A row's key in hex: 28 bytes of hashes and a language of up to 64 characters."""
CURSOR_PATTERN = r"^[0-9]{1,16}-[1-9][0-9]{0,8}$"
_SNIPPET = 160


@dataclass(frozen=True, slots=True)
class Row:
    """A mark in the list. `id`: its row's key in hex."""

    id: str
    score: str
    language: str
    runs: str
    at: str
    snippet: str


def build_row(paid: Paid, rubric: Rubric, query: str = "") -> Row:
    mark = to_wire(paid.record, rubric)
    return Row(
        id=paid.record.mark.fingerprint.row.hex(),
        score=formatting.NONE if mark.score is None else f"{mark.score:.2f}",
        language=formatting.visible(mark.language),
        runs=", ".join(sorted(paid.runs)),
        at=formatting.format_time(paid.record.created_ms),
        snippet=_snippet(paid.record, query),
    )


def make_filter(query: str) -> Callable[[Record], bool]:
    """A filter for records whose task, code, reasons, language or key contain `query`, ignoring
    case.
    """
    wanted = query.casefold()

    def matches(record: Record) -> bool:
        mark = record.mark
        texts = (mark.texts.code, mark.texts.task) if mark.texts else ()
        return any(
            wanted in text.casefold() for text in (*texts, *mark.reasons, mark.fingerprint.key)
        )

    return matches if wanted else lambda _: True


def format_cursor(place: Cursor) -> str:
    return f"{place[0]}-{place[1]}"


def parse_cursor(place: str) -> Cursor:
    """The inverse of `format_cursor`; `place` matches CURSOR_PATTERN."""
    at, _, number = place.partition("-")
    return int(at), int(number)


def _snippet(record: Record, query: str) -> str:
    """The first line that contains `query`; without a query, the first line of the task."""
    texts = record.mark.texts
    if texts is None:
        return ""
    lines = [
        line
        for text in (texts.code, texts.task)
        for line in text.splitlines()
        if query.casefold() in line.casefold()
    ]
    line = next(filter(str.strip, lines if query else texts.task.splitlines()), texts.task)
    return formatting.visible(re.sub(r"\s+", " ", line.strip())[:_SNIPPET])
