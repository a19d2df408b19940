"""The teacher protocol: a group of samples of one task in, criteria or a typed failure for each out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.scoring.fair_queue import NOBODY, Caller
from shared.contract import ErrorCode

CRITERIA = ("correctness", "code_quality", "efficiency", "documentation")


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
class Call:
    """The bill of one call to a paid API. Tokens as the provider reports them; `input_tokens` holds neither cache kind.

    `usage_unknown`: the answer never came, so the numbers are an upper bound, not a bill.
    `cost_usd` is None when the model's price is not known. `billed_input_equivalent` weighs every kind of token by its
    price over the base input price. `duration_ms` is from sending it to its end, None where that is not timed.
    `failed`: it brought no answer.
    """

    model: str
    outcome: str
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cost_usd: float | None = 0.0
    billed_input_equivalent: float = 0.0
    usage_unknown: bool = False
    provider_request_id: str | None = None
    duration_ms: int | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Marked:
    """What the teacher said of one sample: each criterion in [0, 1], and its reasons if it was asked for them.

    It stood at `place` of the `shown` samples of its request, counted from 1; asked again alone, it stood alone.
    """

    criteria: Mapping[str, float]
    reasons: tuple[str, ...] = ()
    place: int = 1
    shown: int = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one sample has no mark."""

    code: ErrorCode
    detail: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when, in Unix seconds, every call to the teacher has failed, and what the last one came to."""

    since_s: float
    cause: str


class Purse(Protocol):
    """Pays for the calls of one group. Every paid call is reserved before it and settled after it, whatever came."""

    async def reserve(self, bound: Call) -> str:
        """Set the most that a call can cost aside. Raises TeacherError(budget_exhausted): do not make the call."""
        ...

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
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

    async def mark(self, group: Group, purse: Purse) -> tuple[Marked | Failure, ...]:
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
