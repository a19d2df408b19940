"""Fakes that record.

The teacher's marks are a hash of the code: any mix-up between samples shows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Outage, Teacher
from markbook.scoring.types import CRITERIA, Judgment, ScoringFailure, TeacherCall


class StepClock:
    """Unix milliseconds, one later at each look."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


def true_criteria(code: str) -> dict[str, float]:
    """What the recording teacher gives `code`: four hundredths out of its SHA-256."""
    digest = hashlib.sha256(code.encode()).digest()
    return {name: digest[index] % 101 / 100 for index, name in enumerate(CRITERIA)}


def true_score(code: str) -> float:
    """The sum with the weights of the design: 0.3, 0.3, 0.2, 0.2, to the six digits of the wire."""
    marks = true_criteria(code)
    weighted = 0.3 * marks["correctness"] + 0.3 * marks["code_quality"]
    return round(weighted + 0.2 * marks["efficiency"] + 0.2 * marks["documentation"], 6)


class OpenLimiter:
    """Pays for everything.

    `bills` are the calls it paid for; `reserved` the reservations that nobody settled.
    """

    def __init__(self) -> None:
        self.bills: list[TeacherCall] = []
        self.reserved: dict[str, TeacherCall] = {}

    async def reserve(self, bound: TeacherCall) -> str:
        reservation = f"reservation {len(self.bills) + len(self.reserved)}"
        self.reserved[reservation] = bound
        return reservation

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        assert self.reserved.pop(reservation) == bound
        self.bills.append(bill)


@dataclass(frozen=True)
class Reply:
    outcomes: tuple[Judgment | ScoringFailure, ...]
    calls: tuple[TeacherCall, ...]


async def asked(teacher: Teacher, group: Group) -> Reply:
    """What a teacher says of a group, and what it paid. Whatever it reserved, it has settled."""
    purse = OpenLimiter()
    outcomes = await teacher.mark(group, purse)
    assert not purse.reserved
    return Reply(outcomes, tuple(purse.bills))


class RecordingTeacher:
    """Keeps the groups it was asked, once they are paid for.

    A call bills 100 tokens in, 10 out a sample.

    `failures[code]` is what a sample gets instead of marks, `error` fails whole calls, `gate` holds
    answers back.
    """

    name = "recording"
    model = "recording-1"
    is_stub = False
    description = "a fake that records"

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.failures: dict[str, ScoringFailure] = {}
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.down: Outage | None = None

    @property
    def codes(self) -> list[str]:
        return [code for group in self.groups for code in group.codes]

    def identity(self) -> Mapping[str, object]:
        return {"name": self.name, "model": self.model}

    async def mark(
        self, group: Group, purse: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        gate, bill = self.gate, self.bill(len(group.codes))
        reservation = await purse.reserve(bill)
        self.groups.append(group)
        self.asked.set()
        if gate is not None:
            await gate.wait()
        await purse.settle(reservation, bill, bill)
        if self.error is not None:
            raise self.error
        return tuple(
            self.failures.get(code) or Judgment(true_criteria(code)) for code in group.codes
        )

    def bill(self, samples: int) -> TeacherCall:
        sent, received = 100 * samples, 10 * samples
        cost = sent * 1e-6 + received * 5e-6
        return TeacherCall(
            self.model,
            "ok",
            sent,
            received,
            cost_usd=cost,
            billed_input_equivalent=sent + 5.0 * received,
        )

    def batches(self) -> None:
        return None

    def outage(self) -> Outage | None:
        return self.down

    def stop(self) -> None:
        return None

    async def close(self) -> None:
        return None
