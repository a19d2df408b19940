"""What a call costs: tokens by kind, times the price of each kind."""

from __future__ import annotations

from dataclasses import dataclass

from markbook.config.settings import Price

TYPICAL = Price(input=1.0, output=5.0)
"""The usual ratios, for weighing tokens of a model whose price is not known, or is nothing."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The bill of one call in tokens, as the provider reports it: the kinds do not overlap."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def cache_write(self) -> int:
        return self.cache_write_5m + self.cache_write_1h

    @property
    def sent(self) -> int:
        """Every input token, cached ones included."""
        return self.input + self.cache_read + self.cache_write


def cost_usd(tokens: Tokens, price: Price) -> float:
    """US dollars."""
    per_token = price.input / 1e6
    spent = (
        tokens.input * per_token
        + tokens.cache_read * per_token * price.cache_read
        + tokens.cache_write_5m * per_token * price.cache_write_5m
        + tokens.cache_write_1h * per_token * price.cache_write_1h
        + tokens.output * price.output / 1e6
    )
    long = price.long_prompt_tokens is not None and tokens.sent > price.long_prompt_tokens
    return spent * price.long_prompt_factor if long else spent


def billed_input_equivalent(tokens: Tokens, price: Price | None) -> float:
    """Tokens, each kind weighed by its price over the base input price, output included.

    Without a price, or with an input price of nothing, the weights are those of TYPICAL.
    """
    if price is None or not price.input:
        price = TYPICAL
    return cost_usd(tokens, price) * 1e6 / price.input
