"""Outcomes of a batch as they are stored, and which failures are worth another batch."""

from __future__ import annotations

import re

import pytest

from markbook.config.settings import Price
from markbook.contract import ErrorCode, SampleTests, Source
from markbook.scoring.pipeline.batch_outcomes import (
    dump_outcome,
    is_to_be_alone,
    is_worth_another_batch,
    load_outcome,
)
from markbook.scoring.pipeline.batch_planner import custom_id_prefix
from markbook.scoring.pipeline.group_scorer import SampleMark
from markbook.scoring.store import StoredBatch
from markbook.scoring.teachers.anthropic.call_pricing import CallPricer
from markbook.scoring.teachers.anthropic.pricing import Tokens
from markbook.scoring.types import ScoringFailure

TESTS = SampleTests(passed=1, total=2, not_run=1, first_failure="assert f(1)")


@pytest.mark.parametrize(
    "outcome",
    [
        SampleMark(
            Source.TEACHER, 0.1 + 0.2, {"correctness": 1.0, "style": 0.0}, ("a reason",), TESTS
        ),
        SampleMark(Source.HEURISTIC, 0.05, None, ("syntax", "stub")),
        ScoringFailure(ErrorCode.TEACHER_TIMEOUT, "the request expired", 1.0),
        ScoringFailure(ErrorCode.TEACHER_REJECTED, "no", None),
    ],
)
def test_an_outcome_is_the_same_after_it_was_stored(outcome):
    assert load_outcome(dump_outcome(outcome)) == outcome


@pytest.mark.parametrize(
    ("code", "shown", "again", "alone"),
    [
        (ErrorCode.TEACHER_UNAVAILABLE, 4, True, False),
        (ErrorCode.TEACHER_TIMEOUT, 1, True, False),
        (ErrorCode.REPLY_UNREADABLE, 4, True, True),
        (ErrorCode.REPLY_TRUNCATED, 1, True, True),
        (ErrorCode.TEACHER_REFUSED, 2, True, True),
        (ErrorCode.TEACHER_REFUSED, 1, False, True),
        (ErrorCode.TEACHER_REJECTED, 4, False, False),
        (ErrorCode.BUDGET_EXHAUSTED, 4, False, False),
    ],
)
def test_what_may_succeed_is_tried_again_and_alone_where_others_may_be_the_cause(
    code, shown, again, alone
):
    failure = ScoringFailure(code, "why")
    assert is_worth_another_batch(failure, shown) is again
    assert is_to_be_alone(dump_outcome(failure)) is alone


def test_a_sample_that_has_not_failed_is_shown_with_others():
    assert not is_to_be_alone(None)


def test_the_ids_of_requests_are_ones_that_the_provider_takes():
    in_2100_ms = 4_102_444_800_000
    longest = custom_id_prefix(batch("f" * 32, in_2100_ms), 1000) + str(100_000)
    assert longest == f"{'f' * 32}-3bb2cc3d800-1000-100000"
    assert len(longest) == 32 + 1 + 11 + 1 + 4 + 1 + 6 <= 64
    assert re.fullmatch("[a-zA-Z0-9_-]+", longest)


def test_a_batch_of_the_same_request_at_another_time_has_other_ids():
    assert custom_id_prefix(batch("a", 1), 1) != custom_id_prefix(batch("a", 2), 1)


def batch(name: str, created_ms: int) -> StoredBatch:
    return StoredBatch(name, "r", None, "queued", 1, b"", None, 0, 0, None, None, created_ms)


def test_a_batch_is_priced_at_its_factor():
    price = Price(input=1.0, output=5.0)
    tokens = Tokens(input=1000, output=100, cache_read=2000, cache_write_1h=300)
    whole, half = (
        CallPricer("m", price, "1h", factor).counted("end_turn", tokens, None)
        for factor in (1.0, 0.5)
    )
    # 1000 + 2000 x 0.1 + 300 x 2 = 1800 input tokens and 100 x 5 = 500 for output
    assert (whole.cost_usd, whole.billed_input_equivalent) == (
        pytest.approx(0.0023),
        pytest.approx(2300),
    )
    assert (half.cost_usd, half.billed_input_equivalent) == (
        pytest.approx(0.00115),
        pytest.approx(1150),
    )
    assert (half.input_tokens, half.output_tokens) == (1000, 100)
    unpriced = CallPricer("m", None, "1h", 0.5).counted("end_turn", tokens, None)
    assert (unpriced.cost_usd, unpriced.billed_input_equivalent) == (None, pytest.approx(1150))
