"""The teacher protocol: a group of samples of one task in, one judgment or typed failure per
sample out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from markbook.scoring.fair_queue import NOBODY, Caller
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall

if TYPE_CHECKING:  # it needs Group
    from markbook.scoring.teachers.batch_protocol import BatchApi


@dataclass(frozen=True, slots=True)
class Group:
    """Distinct samples of one task.

    `task` is the text to show, already truncated; `codes` are extracted, never raw completions.
    `caller`: who is scheduled fairly among those that wait for a call. `explain`: reasons are
    wanted, whatever the configuration is.
    """

    id: str
    task: str
    language: str
    codes: tuple[str, ...]
    caller: Caller = NOBODY
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """`since_s`: Unix seconds since when every call has failed; `cause`: of the last failure."""

    since_s: float
    cause: str


class BudgetLimiter(Protocol):
    """Charges the calls of one group: each is reserved before it starts and settled after it,
    whatever happens.
    """

    async def reserve(self, bound: TeacherCall) -> str:
        """Reserve the most that a call can cost.

        Raises TeacherError(budget_exhausted): the call must not be made.
        """
        ...

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        """Replace the reservation by what the call cost.

        Where that is not known, `bill` is a bound as well.
        """
        ...


class Teacher(Protocol):
    """Scores groups of samples.

    Implementations are safe to call concurrently from one event loop.
    """

    name: str
    model: str
    is_stub: bool
    """True when the scores are no judgment of quality; every output that shows them states this."""
    description: str
    """One line for the log, /stats and the page."""

    def identity(self) -> Mapping[str, object]:
        """Everything of this teacher that a mark depends on: JSON-serializable, part of the
        profile.
        """
        ...

    async def mark(
        self, group: Group, limiter: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        """One outcome per item of `group.codes`, in order. Its calls are charged through `limiter`.

        Raises TeacherError when the whole group failed, ServiceStoppingError when a shutdown came
        before any answer.
        """
        ...

    def batches(self) -> BatchApi | None:
        """How to ask this teacher in batches; None where that is not possible."""
        ...

    def outage(self) -> Outage | None:
        """Set while the circuit breaker is open: calls fail and only probes are made.

        None otherwise.
        """
        ...

    def stop(self) -> None:
        """Start no further calls.

        Waiting groups raise ServiceStoppingError, unless they have outcomes already.
        """
        ...

    async def close(self) -> None: ...


class WrappedTeacher:
    """Delegates everything to another teacher; subclasses change what they need."""

    def __init__(self, teacher: Teacher) -> None:
        self.name = teacher.name
        self.model = teacher.model
        self.is_stub = teacher.is_stub
        self.description = teacher.description
        self._teacher = teacher

    def identity(self) -> Mapping[str, object]:
        return self._teacher.identity()

    async def mark(
        self, group: Group, limiter: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        return await self._teacher.mark(group, limiter)

    def batches(self) -> BatchApi | None:
        return self._teacher.batches()

    def outage(self) -> Outage | None:
        return self._teacher.outage()

    def stop(self) -> None:
        self._teacher.stop()

    async def close(self) -> None:
        await self._teacher.close()
