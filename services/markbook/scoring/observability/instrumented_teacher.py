"""Calls to the teacher, measured: metrics, log lines and traces of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from markbook.scoring.observability.metrics import Calls
from markbook.scoring.observability.tracing import span
from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Outage, Teacher
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall


class InstrumentedTeacher:
    """Another teacher, whose calls are timed and counted as they are paid for, and are a span for each group."""

    def __init__(self, teacher: Teacher, calls: Calls) -> None:
        self.name = teacher.name
        self.model = teacher.model
        self.is_stub = teacher.is_stub
        self.description = teacher.description
        self._teacher = teacher
        self._calls = calls

    def identity(self) -> Mapping[str, object]:
        return self._teacher.identity()

    async def mark(self, group: Group, purse: BudgetLimiter) -> tuple[Judgment | ScoringFailure, ...]:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.request.model": self.model,
            "markbook.samples": len(group.codes),
        }
        with span("teacher", **attributes) as step:
            watched = _InstrumentedLimiter(purse, self._calls, step)
            try:
                return await self._teacher.mark(group, watched)
            finally:
                self._calls.in_progress.dec(watched.open)  # cut off by a stop

    def outage(self) -> Outage | None:
        return self._teacher.outage()

    def stop(self) -> None:
        self._teacher.stop()

    async def close(self) -> None:
        await self._teacher.close()


@dataclass(slots=True)
class _InstrumentedLimiter:
    """Another purse. Between its reserving and its settling lies a call; `open`: those without a bill yet."""

    purse: BudgetLimiter
    calls: Calls
    span: Span
    open: int = 0
    spent: Counter[str] = field(default_factory=Counter)

    async def reserve(self, bound: TeacherCall) -> str:
        reservation = await self.purse.reserve(bound)
        self.open += 1
        self.calls.in_progress.inc()
        return reservation

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        self.open -= 1
        self.calls.in_progress.dec()
        self.calls.billed(bill)
        sent = bill.input_tokens + bill.cache_read_input_tokens + bill.cache_creation_input_tokens
        self.spent["markbook.calls"] += 1
        self.spent["gen_ai.usage.input_tokens"] += sent
        self.spent["gen_ai.usage.cache_read.input_tokens"] += bill.cache_read_input_tokens
        self.spent["gen_ai.usage.output_tokens"] += bill.output_tokens
        self.span.set_attributes(self.spent)
        await self.purse.settle(reservation, bound, bill)
