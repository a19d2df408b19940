"""Faults on demand: a script for the next requests, or a seeded share of all."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.emulator.errors import ApiError

ERRORS: dict[str, Callable[[], ApiError]] = {
    "rate_limit": lambda: ApiError(
        "rate_limit_error", "slow down", headers={"retry-after": "0.05"}
    ),
    "rate_limit_long": lambda: ApiError(
        "rate_limit_error", "come back later", headers={"retry-after": "3600"}
    ),
    "rate_limit_bare": lambda: ApiError("rate_limit_error", "slow down"),
    "spend_limit": lambda: ApiError(
        "rate_limit_error",
        "your organization has reached its limit",
        error_code="enforced_spend_limit_reached",
    ),
    "overloaded": lambda: ApiError("overloaded_error", "Overloaded"),
    "api_error": lambda: ApiError("api_error", "Internal server error"),
    "timeout_error": lambda: ApiError("timeout_error", "the request took too long"),
    "bad_key": lambda: ApiError("authentication_error", "invalid bearer token"),
    "billing": lambda: ApiError("billing_error", "your credit balance is too low"),
}
"""Answered before the work: not billed."""

TRANSPORT = (
    "slow",
    "reset_before",
    "reset_after",
    "cut_body",
    "not_json",
    "broken_json",
    "no_usage",
)
"""No answer that can be used, or (no_usage) no bill in it.

All but reset_before are billed: the work was done.
"""

REPLIES: dict[str, Callable[[list[str]], list[str]]] = {
    "prose": lambda lines: [f"Here are my marks for the {len(lines)} samples.", *lines],
    "only_prose": lambda lines: ["All of these samples look good to me."],
    "missing": lambda lines: lines[:-1],
    "repeated": lambda lines: [*lines, lines[0]],
    "zero_based": lambda lines: [
        f"{int(line.split(' ', 1)[0]) - 1} {line.split(' ', 1)[1]}" for line in lines
    ],
    "out_of_range": lambda lines: [*lines[:-1], lines[-1].rsplit(" ", 1)[0] + " 101"],
    "short_line": lambda lines: [*lines[:-1], lines[-1].rsplit(" ", 1)[0]],
    "empty": lambda lines: [],
}
"""A reply of another form than was asked: billed."""

STOPS = ("cut", "refusal")
"""A reply that ends early: billed."""

BATCHED = ("errored", "invalid", "expired", "canceled")
"""What becomes of a request in a batch instead of an answer: not billed."""

ALL = (*ERRORS, *TRANSPORT, *REPLIES, *STOPS, *BATCHED)
FLEETING = tuple(
    kind
    for kind in ALL
    if kind not in ("rate_limit_long", "spend_limit", "bad_key", "billing", *BATCHED)
)
"""Those that pass when asked again."""


@dataclass
class Faults:
    """`script` is used up first, one entry a request (None: no fault); then each request fails
    with chance `share`.
    """

    script: list[str | None] = field(default_factory=list)
    share: float = 0.0
    kinds: tuple[str, ...] = FLEETING
    seed: int = 0
    _draw: random.Random | None = None

    def __post_init__(self) -> None:
        if unknown := {kind for kind in (*self.script, *self.kinds) if kind is not None} - set(ALL):
            raise ValueError(f"unknown faults {sorted(unknown)}; known: {', '.join(ALL)}")

    def next(self) -> str | None:
        if self.script:
            return self.script.pop(0)
        self._draw = self._draw or random.Random(self.seed)
        return self._draw.choice(self.kinds) if self._draw.random() < self.share else None


def script(*kinds: str | None) -> Faults:
    return Faults(script=list(kinds))


def always(kinds: Iterable[str]) -> Faults:
    return Faults(share=1.0, kinds=tuple(kinds))
