"""What a call without an answer is booked at: never less than the provider can have billed."""

from __future__ import annotations

import pytest

from markbook.config.settings import Price
from markbook.scoring.teachers.anthropic.call_pricing import CallPricer

BILLS = CallPricer("model", Price(input=1.0, output=5.0), "5m")


def test_the_bound_by_hand():
    bound = BILLS.bound("timeout", system="r" * 100, text="t" * 80, max_tokens=50)
    assert bound.usage_unknown
    assert (bound.input_tokens, bound.cache_creation_input_tokens, bound.output_tokens) == (
        80 * 9 // 8 + 64,
        100,
        50,
    )
    # 154 x 1 + 100 x 1.25 + 50 x 5 dollars a million
    assert bound.cost_usd == pytest.approx(529e-6)


@pytest.mark.parametrize("text", ["x" * 1000, "漢字" * 500, "🎓" * 250, "\u0301" * 500])
def test_a_byte_is_a_token_at_most(text):
    bound = BILLS.bound("timeout", system=text, text=text, max_tokens=1)
    assert bound.input_tokens >= len(text.encode())
    assert bound.cache_creation_input_tokens >= len(text.encode())


def test_a_rubric_cached_for_an_hour_is_booked_as_such():
    hour = CallPricer("model", Price(input=1.0, output=5.0), "1h").bound(
        "timeout", system="r" * 100, text="", max_tokens=0
    )
    assert hour.cost_usd == pytest.approx((64 + 2 * 100) * 1e-6)
