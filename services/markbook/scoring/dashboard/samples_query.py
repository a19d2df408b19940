"""The parameters of the list of samples and of one sample's page, and links to other views of
them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query

from markbook.scoring.store import Order, SampleCursor, SampleFilter

CURSOR_PATTERN = r"^$|^[0-9]{1,16}(\.[0-9]{1,20})?(e-[0-9]{1,3})?_([0-9a-f]{2}){6,284}$"
"""A time or a score, and the hex of a row's key or of a task's hash: of one that the page has
shown.
"""
_SCORE = r"^$|^(0|1|0?\.[0-9]{1,6}|[01]\.[0-9]{1,6})$"
_TASK = r"^$|^[0-9a-f]{12}$"


class Grouping(StrEnum):
    TASK = "task"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SamplesQuery:
    """Empty: any.

    `task`: the first part of a readable key. `low` and `high`: scores, both ends included.
    """

    run: str = ""
    source: str = ""
    language: str = ""
    reason: str = ""
    task: str = ""
    low: str = ""
    high: str = ""
    sort: Order = Order.LATEST
    by: Grouping = Grouping.TASK
    after: str = ""

    @property
    def is_by_task(self) -> bool:
        return self.by is Grouping.TASK and not self.task

    @property
    def is_filtered(self) -> bool:
        return any(
            (self.run, self.source, self.language, self.reason, self.task, self.low, self.high)
        )

    def filter(self) -> SampleFilter:
        return SampleFilter(
            self.sort,
            self.run or None,
            self.source or None,
            self.language or None,
            self.reason or None,
            bytes.fromhex(self.task) if self.task else None,
            float(self.low) if self.low else None,
            float(self.high) if self.high else None,
        )

    def cursor(self) -> SampleCursor | None:
        if not self.after:
            return None
        value, _, key = self.after.partition("_")
        return SampleCursor(float(value), bytes.fromhex(key))

    def link(self, **changes: str) -> str:
        """The query of this view with `changes`; it starts at the first page unless a change
        names `after`.
        """
        values = asdict(replace(self, **{"after": "", **changes}))  # type: ignore[arg-type]
        given = {
            name: str(value) for name, value in values.items() if value and value != _DEFAULTS[name]
        }
        return f"?{urlencode(given)}" if given else ""


_DEFAULTS = asdict(SamplesQuery())


def format_cursor(cursor: SampleCursor) -> str:
    return f"{cursor.value!r}_{cursor.key.hex()}"


_NO_NUL = r"^[^\x00]*$"
"""Postgres takes no NUL in text."""


def read_samples_query(
    run: Annotated[str, Query(max_length=128, pattern=_NO_NUL)] = "",
    source: Annotated[str, Query(pattern=r"^(teacher|tests|heuristic|)$")] = "",
    language: Annotated[str, Query(max_length=64, pattern=_NO_NUL)] = "",
    reason: Annotated[str, Query(pattern=r"^[a-z_]{0,40}$")] = "",
    task: Annotated[str, Query(pattern=_TASK)] = "",
    low: Annotated[str, Query(pattern=_SCORE)] = "",
    high: Annotated[str, Query(pattern=_SCORE)] = "",
    sort: Order = Order.LATEST,
    by: Grouping = Grouping.TASK,
    after: Annotated[str, Query(pattern=CURSOR_PATTERN)] = "",
) -> SamplesQuery:
    """A dependency of both pages."""
    return SamplesQuery(run, source, language, reason, task, low, high, sort, by, after)
