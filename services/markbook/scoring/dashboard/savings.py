"""Dollars saved, with their formula, and whether there is any money to show."""

from __future__ import annotations

from dataclasses import dataclass

from markbook.config.settings import Price
from markbook.contract import Counters
from markbook.scoring.dashboard import formatting

_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Savings:
    """`baseline_tokens`: input of one call per sample, with the whole rubric and the whole task.

    `received`: output.
    """

    baseline_tokens: int
    received: int
    price: Price
    cost_usd: float

    @property
    def baseline_usd(self) -> float:
        return (
            self.baseline_tokens * self.price.input + self.received * self.price.output
        ) / _MILLION

    @property
    def saved_usd(self) -> float:
        return self.baseline_usd - self.cost_usd

    @property
    def formula(self) -> str:
        return (
            f"{self.baseline_tokens:,} input tokens at ${self.price.input:g} per million + "
            f"{self.received:,} output tokens at ${self.price.output:g} per million − "
            f"{formatting.usd(self.cost_usd)} spent = {signed_usd(self.saved_usd)}"
        )


def compute_savings(total: Counters, price: Price | None) -> Savings | None:
    """The baseline's input tokens at the input price, plus the output that was received at the
    output price, less the cost. The output of the calls that were not made is left out, so this is
    a lower bound.

    None where a price is not known, and where there is no baseline: with the stub.
    """
    baseline_tokens = total.tokens_saved + total.api_tokens_sent
    if price is None or total.cost_usd is None or not baseline_tokens:
        return None
    return Savings(baseline_tokens, total.api_tokens_received, price, total.cost_usd)


def signed_usd(dollars: float) -> str:
    return f"−{formatting.usd(-dollars)}" if dollars < 0 else formatting.usd(dollars)


def has_money(total: Counters, *, is_stub: bool) -> bool:
    """False with the stub as long as nothing else was ever billed in this period."""
    billed = (
        total.cost_usd,
        total.api_tokens_sent,
        total.api_tokens_received,
        total.usage_unknown_calls,
    )
    return not is_stub or any(each is None or each > 0 for each in billed)
