"""What marks of known samples would cost, by hand: by calls and by batches."""

from __future__ import annotations

import pytest

from markbook.config.loading import parse_config
from markbook.scoring.budgets.cost_estimate import Forecast
from markbook.scoring.cli.confirm_cost import describe_cost
from markbook.scoring.dashboard.explain_cost import explain_cost
from markbook.scoring.judging.costs import LIKELY, MOST, estimate_cost
from markbook.scoring.judging.labelled import LabelledSample
from markbook.scoring.prompts.prompt import estimate_tokens, render, system_text
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.pricing import Tokens

CODES = ("x = 1", "x = 22", "x = 333")
SAMPLES = [
    LabelledSample(prompt="Write x.", language="python", code=code, passed=True) for code in CODES
]
SYSTEM = estimate_tokens(system_text(load_rubric(), explain=False))


def message(*codes: str) -> int:
    return estimate_tokens(render("Write x.", "python", codes, "#000000"))


def config(**teacher: object):
    return parse_config({"teacher": {"name": "anthropic", **teacher}})


@pytest.mark.parametrize(("batch", "factor"), [("off", 1.0), ("on", 0.5)])
def test_two_requests_by_hand(batch, factor):
    groups = [0, 1, 0]
    found = estimate_cost(config(batch=batch, cache_ttl="1h"), SAMPLES, groups, [0, 1, 2])
    sent = message(CODES[0], CODES[2]) + message(CODES[1])
    # 10 tokens per sample, and a tenth of the room that is left of 16 and 15 per sample
    output = [10 * size + 0.1 * (16 + 15 * size - 10 * size) for size in (2, 1)]
    mean = [round(sent / 2), round(sum(output) / 2)]
    assert (found.judged, found.calls) == (3, 2)
    assert found.tokens == Tokens(
        2 * mean[0], 2 * mean[1], cache_read=SYSTEM, cache_write_1h=SYSTEM
    )
    usd = (2 * mean[0] + 0.1 * SYSTEM + 2 * SYSTEM) * 0.1e-6 + 2 * mean[1] * 0.5e-6
    assert found.usd == pytest.approx(factor * usd)


def test_only_missing_marks_are_priced_and_a_batch_has_its_own_cache_and_factor():
    asked = (SAMPLES, [0, 0, 0])
    assert estimate_cost(config(batch="on"), *asked, []) == Forecast(0, 0, Tokens(), 0.0)
    by_batch = estimate_cost(config(batch="on", batch_cache_ttl="5m"), *asked, [1])
    assert (by_batch.judged, by_batch.tokens.cache_write_5m, by_batch.tokens.cache_write_1h) == (
        1,
        SYSTEM,
        0,
    )
    price = {"input": 0.1, "output": 0.5, "batch": 0.25}
    cheap = config(batch="on", batch_cache_ttl="5m", prices={"claude-haiku-5-5": price})
    assert 2 * estimate_cost(cheap, *asked, [1]).usd == pytest.approx(by_batch.usd)
    assert estimate_cost(config(batch="on", model="unheard-of"), *asked, [1]).usd is None


def test_at_most_every_request_of_a_batch_writes_the_rubric():
    found = estimate_cost(config(batch="on"), SAMPLES, [0, 1, 2], [0, 1, 2], MOST)
    assert found.tokens.cache_read == 0
    assert found.tokens.cache_write_1h == 3 * round(7 / 6 * SYSTEM)


def test_the_phrase_names_batches_and_sums_the_repeats():
    likely, most = (
        estimate_cost(config(), SAMPLES, [0, 1, 2], [0, 1, 2], each) for each in (LIKELY, MOST)
    )
    assert describe_cost(config(), [likely] * 2, [most] * 2).startswith("6 calls, ")
    assert describe_cost(config(batch="on"), [likely], [most]).startswith("3 batched requests, ")
    unpriced = config(model="unheard-of")
    found = estimate_cost(unpriced, SAMPLES, [0, 1, 2], [0, 1, 2])
    assert describe_cost(unpriced, [likely, found], [most]).split(", ")[2] == "about price unknown"


def test_an_explanation_is_a_call_whatever_the_setting():
    shown = [
        explain_cost(
            config(batch=batch), load_rubric(), ("Write x.", "python"), "x = 1", is_stub=False
        )
        for batch in ("off", "on")
    ]
    assert shown[0] == shown[1]
