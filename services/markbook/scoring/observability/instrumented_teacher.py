"""Instruments teacher calls: metrics and traces."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from markbook.scoring.observability.metrics import Calls
from markbook.scoring.observability.tracing import span
from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Teacher, WrappedTeacher
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall


class InstrumentedTeacher(WrappedTeacher):
    """Wraps a teacher: counts and times its calls as they are settled, and makes a span per
    group.
    """

    def __init__(self, teacher: Teacher, calls: Calls) -> None:
        super().__init__(teacher)
        self._calls = calls

    async def mark(
        self, group: Group, limiter: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.request.model": self.model,
            "markbook.samples": len(group.codes),
        }
        with span("teacher", **attributes) as step:
            self._calls.group_samples.observe(len(group.codes))
            instrumented = _InstrumentedLimiter(limiter, self._calls, step)
            try:
                return await self._teacher.mark(group, instrumented)
            finally:
                self._calls.in_progress.dec(instrumented.open)  # calls that a shutdown cut off


@dataclass(slots=True)
class _InstrumentedLimiter:
    """Wraps a budget limiter: a call lies between reserve and settle.

    `open`: calls that are not settled yet.
    """

    limiter: BudgetLimiter
    calls: Calls
    span: Span
    open: int = 0
    spent: Counter[str] = field(default_factory=Counter)

    async def reserve(self, bound: TeacherCall) -> str:
        reservation = await self.limiter.reserve(bound)
        self.open += 1
        self.calls.in_progress.inc()
        return reservation

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        self.open -= 1
        self.calls.in_progress.dec()
        self.calls.observe(bill)
        sent = bill.input_tokens + bill.cache_read_input_tokens + bill.cache_creation_input_tokens
        self.spent["markbook.calls"] += 1
        self.spent["gen_ai.usage.input_tokens"] += sent
        self.spent["gen_ai.usage.cache_read.input_tokens"] += bill.cache_read_input_tokens
        self.spent["gen_ai.usage.output_tokens"] += bill.output_tokens
        self.span.set_attributes(self.spent)
        await self.limiter.settle(reservation, bound, bill)
