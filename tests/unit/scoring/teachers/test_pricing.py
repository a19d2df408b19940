"""CallPricer: hand-computed dollars and input equivalents."""

from __future__ import annotations

import pytest

from markbook.config.settings import PRICES_OF_2026_11, Price, TeacherConfig
from markbook.scoring.teachers.anthropic.pricing import Tokens, billed_input_equivalent, cost_usd

HAIKU, SONNET = PRICES_OF_2026_11["claude-haiku-5-5"], PRICES_OF_2026_11["claude-sonnet-5-5"]
TOKENS = Tokens(input=1000, output=100, cache_read=2000, cache_write_5m=400, cache_write_1h=40)


def test_each_kind_of_token_has_its_price() -> None:
    # 1000 + 2000 * 0.1 + 400 * 1.25 + 40 * 2 + 100 * 5 = 2280
    assert billed_input_equivalent(TOKENS, HAIKU) == pytest.approx(2280)
    assert cost_usd(TOKENS, HAIKU) == pytest.approx(2280 * 0.10 / 1e6)
    # cached reads are cheaper on Sonnet 5.5: 1000 + 2000 * 0.05 + 500 + 80 + 500
    assert billed_input_equivalent(TOKENS, SONNET) == pytest.approx(2180)
    assert cost_usd(TOKENS, SONNET) == pytest.approx(2180 * 2.0 / 1e6)


def test_a_long_prompt_costs_more_on_both_sides_of_the_step() -> None:
    assert cost_usd(Tokens(input=60_000, cache_read=40_000), HAIKU) == pytest.approx(
        (60_000 + 4_000) * 0.10 / 1e6
    )
    assert cost_usd(Tokens(input=60_001, cache_read=40_000), HAIKU) == pytest.approx(
        (60_001 + 4_000) * 0.50 / 1e6
    )
    assert cost_usd(Tokens(input=200_000), SONNET) == pytest.approx(0.4)


def test_without_a_price_the_usual_ratios_weigh() -> None:
    assert billed_input_equivalent(TOKENS, None) == pytest.approx(2280)
    free = Price(input=0.0, output=0.0)
    assert billed_input_equivalent(TOKENS, free) == pytest.approx(2280)
    assert cost_usd(TOKENS, free) == 0.0


def test_every_input_token_counts_as_sent() -> None:
    assert TOKENS.sent == 3440
    assert TOKENS.cache_write == 440


def test_the_file_adds_to_and_replaces_the_built_in_prices() -> None:
    own = {"mine": Price(input=3.0, output=6.0), "claude-haiku-5-5": Price(input=0.2, output=1.0)}
    assert TeacherConfig(model="mine", prices=own).price() == own["mine"]
    assert TeacherConfig(prices=own).price() == own["claude-haiku-5-5"]
    assert TeacherConfig(model="claude-sonnet-5-5", prices=own).price() == SONNET
    assert TeacherConfig(model="unheard-of").price() is None
