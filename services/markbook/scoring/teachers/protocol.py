"""The teacher protocol: a group of samples of one task in, criteria or a typed failure for each out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from markbook.scoring.fair_queue import NOBODY, Caller
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall


@dataclass(frozen=True, slots=True)
class Group:
    """Distinct samples of one task, in the order in which the teacher is to see them.

    `task` is the text to show, already truncated; `codes` are extracted, never raw completions. `caller`: whose turn it
    takes among those who wait for a call.
    """

    id: str
    task: str
    language: str
    codes: tuple[str, ...]
    caller: Caller = NOBODY


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when, in Unix seconds, every call to the teacher has failed, and what the last one came to."""

    since_s: float
    cause: str


class BudgetLimiter(Protocol):
    """Pays for the calls of one group. Every paid call is reserved before it and settled after it, whatever came."""

    async def reserve(self, bound: TeacherCall) -> str:
        """Set the most that a call can cost aside. Raises TeacherError(budget_exhausted): do not make the call."""
        ...

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        """Replace the bound by the bill. A bill that is not known is itself a bound."""
        ...


class Teacher(Protocol):
    """One who marks. Implementations are safe to call concurrently from one event loop."""

    name: str
    model: str
    is_stub: bool
    """True when the marks are no judgement: said on every surface that shows them."""
    description: str
    """One line for the log, /stats and the page: who this is."""

    def identity(self) -> Mapping[str, object]:
        """Everything of this teacher that a mark depends on: JSON-able, part of the profile."""
        ...

    async def mark(self, group: Group, purse: BudgetLimiter) -> tuple[Judgment | ScoringFailure, ...]:
        """One outcome for each of `group.codes`, in their order. What it costs goes through `purse`.

        Raises TeacherError when the group as a whole got nothing, ServiceStopping when it was stopped before that.
        """
        ...

    def outage(self) -> Outage | None:
        """Set while calls fail one after the other, so that none is made but to try; None while all is well."""
        ...

    def stop(self) -> None:
        """From now on no call begins. Who waits for one gets ServiceStopping, unless it has marks to bring already."""
        ...

    async def close(self) -> None: ...
