"""What teachers, store and pipeline hand each other: a call's bill, a sample's criteria, or why
it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markbook.contract import ErrorCode

CORRECTNESS = "correctness"
"""The criterion that tests can decide."""
CRITERIA = (CORRECTNESS, "code_quality", "efficiency", "documentation")


@dataclass(frozen=True, slots=True)
class TeacherCall:
    """The bill of one call to a paid API.

    Tokens as the provider reports them; `input_tokens` holds neither cache kind.

    `usage_unknown`: the answer never came, so the numbers are an upper bound, not a bill.
    `cost_usd` is None when the model's price is not known. `billed_input_equivalent` weighs every
    kind of token by its price over the base input price. `duration_ms` is from sending it to its
    end, None where that is not timed. `failed`: it brought no answer.
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
class Exchange:
    """The body of a request to a teacher, without headers and so without keys, and the text of
    the reply to it.
    """

    request: Mapping[str, Any]
    reply: str


@dataclass(frozen=True, slots=True)
class Judgment:
    """The teacher's judgment of one sample: each criterion in [0, 1], and reasons if requested.

    It stood at `place` of the `shown` samples of its request, counted from 1; asked again alone, it
    stood alone. `exchange`: what made it, where that is kept.
    """

    criteria: Mapping[str, float]
    reasons: tuple[str, ...] = ()
    place: int = 1
    shown: int = 1
    exchange: Exchange | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ScoringFailure:
    """Why one sample has no mark."""

    code: ErrorCode
    detail: str
    retry_after_s: float | None = None
