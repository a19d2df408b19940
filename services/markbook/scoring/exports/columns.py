"""The columns of tables that are exported, and the row of a mark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markbook.contract import MarkRecord

CRITERION = "criterion_"
"""Before the names of criteria, which a rubric chooses freely."""
Row = Mapping[str, Any]
"""A value, or None, for each column by its name."""


@dataclass(frozen=True, slots=True)
class Column:
    """`kind`: the type of its values; `time` is an aware datetime."""

    name: str
    kind: Literal["text", "number", "integer", "time"]


PAIR_COLUMNS = (
    Column("prompt", "text"),
    Column("chosen", "text"),
    Column("rejected", "text"),
    Column("score_chosen", "number"),
    Column("score_rejected", "number"),
    Column("language", "text"),
)
"""Of preference pairs, named as TRL's datasets have them."""


def mark_columns(criteria: Iterable[str]) -> list[Column]:
    """The columns of marks whose profiles have these criteria together."""
    return [
        Column("created_at", "time"),
        Column("run", "text"),
        Column("language", "text"),
        Column("score", "number"),
        *(Column(f"{CRITERION}{name}", "number") for name in sorted(set(criteria))),
        Column("reasons", "text"),
        Column("group_id", "text"),
        Column("group_position", "integer"),
        Column("group_size", "integer"),
        Column("key", "text"),
        Column("profile", "text"),
        Column("digest", "text"),
        Column("tests_digest", "text"),
        Column("task", "text"),
        Column("code", "text"),
    ]


def mark_row(mark: MarkRecord, run: str, columns: Sequence[Column]) -> Row:
    """`run`: the one that paid for it, empty where that is not known.

    Criteria that it does not have are None.
    """
    given: dict[str, Any] = {f"{CRITERION}{name}": value for name, value in mark.criteria.items()}
    given |= {
        name: getattr(mark, name)
        for name in ("created_at", "language", "score", "key", "profile", "digest")
    }
    given |= {
        "group_id": mark.group.id,
        "group_position": mark.group.position,
        "group_size": mark.group.size,
    }
    given |= {
        "run": run or None,
        "task": mark.task,
        "code": mark.code,
        "tests_digest": mark.tests_digest,
    }
    given["reasons"] = json.dumps(mark.reasons, ensure_ascii=False)
    return {column.name: given.get(column.name) for column in columns}
