"""Tokens saved: what the baseline would have sent for the samples that are scored, less what was
sent.
"""

from __future__ import annotations

from markbook.contract import ErrorCode
from markbook.scoring.types import ScoringFailure
from tests.unit.scoring.pipeline.test_score import code, run_counts, sample, score


async def test_the_stand_in_saves_nothing(service, teacher):
    teacher.is_stub = True
    async with service() as http:
        await score(http, sample(code("add")))
        counts = await run_counts(http)
    assert counts["tokens_saved"] == -counts["api_tokens_sent"]


async def test_a_sample_without_a_mark_saves_nothing(service, teacher):
    async with service() as http:
        await score(http, sample(code("good")), run="scored")
        one = await run_counts(http, "scored")
        teacher.failures[code("bad")] = ScoringFailure(ErrorCode.TEACHER_REFUSED, "declined")
        await score(http, sample(code("bad")), run="mixed")
        bad = await run_counts(http, "mixed")
        await score(http, sample(code("good")), sample(code("bad")), run="both")
        both = await run_counts(http, "both")
    assert one["tokens_saved"] + one["api_tokens_sent"] > 0
    assert (
        bad["tokens_saved"] == -bad["api_tokens_sent"] == -100
    )  # it was asked for and paid for, for nothing
    # in the store, so not asked again: the baseline's tokens of the good one alone
    assert (
        both["tokens_saved"] + both["api_tokens_sent"]
        == one["tokens_saved"] + one["api_tokens_sent"]
    )


async def test_a_spent_budget_saves_nothing(service):
    async with service({"budgets": {"total": {"tokens": 0}}}) as http:
        await score(http, sample(code("one")))
        counts = await run_counts(http)
    assert (counts["unscored"], counts["api_tokens_sent"], counts["tokens_saved"]) == (1, 0, 0)
