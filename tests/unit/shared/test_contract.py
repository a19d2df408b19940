"""Numbers on the wire: rounded where they are computed, so that no reader sees the digits that
only floats have.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import AfterValidator, BaseModel

import markbook.contract
from markbook.contract import (
    AuditCount,
    BudgetState,
    Counters,
    ErrorCode,
    ExtractedFrom,
    RequestUsage,
    SampleError,
    Scored,
    Source,
)

AS_SET = {
    "ScoreRequest.timeout_s",
    "CacheStats.max_age_days",
    "BudgetState.limit_usd",
    "AgreementStats.min_agreement",
    "AgreementStats.tests_audit_rate",
    "AuditStats.rate",
    "AuditStats.threshold",
    "Stats.policy",
    *(f"{model}.{name}" for model in ("Metric", "RunMetric") for name in ("value", "low", "high")),
}
"""What a user has set, or a trainer has reported, comes back as it was."""
AS_KEPT = {"MarkRecord.criteria"}
"""An import keeps what the export had, whatever its digits."""


def test_a_score_is_what_a_person_would_write() -> None:
    mark = Scored(
        score=0.6699999999999999,
        source=Source.TEACHER,
        criteria={"a": 0.1 + 0.2},
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
    )
    assert (mark.score, mark.criteria) == (0.67, {"a": 0.3})
    assert '"score":0.67,' in mark.model_dump_json()
    count = AuditCount(
        reason="stub", language="go", audited=3, at_or_above_threshold=0, mean_score=0.2 / 3
    )
    assert count.mean_score == 0.066667


def test_money_tokens_and_seconds_have_the_digits_of_the_ledger() -> None:
    assert RequestUsage(cost_usd=0.1 + 0.2).cost_usd == 0.3
    assert RequestUsage(cost_usd=None).cost_usd is None
    assert RequestUsage(cost_usd=0.000000001).cost_usd == 0.000000001
    assert Counters(billed_input_equivalent=1.1 + 2.2).billed_input_equivalent == 3.3
    assert (
        BudgetState(
            spent_usd=0.1 + 0.2, limit_usd=None, spent_tokens=0, limit_tokens=None
        ).spent_usd
        == 0.3
    )
    assert (
        SampleError(code=ErrorCode.DEADLINE, detail="", retry_after_s=0.1 + 0.2).retry_after_s
        == 0.3
    )


def floats(model: type[BaseModel]) -> Iterator[str]:
    """The fields that hold a float which nothing rounds."""
    for name, field in model.model_fields.items():
        rounded = any(
            isinstance(each, AfterValidator) for each in field.metadata
        ) or "AfterValidator" in repr(field.annotation)
        if "float" in repr(field.annotation) and not rounded:
            yield f"{model.__name__}.{name}"


def test_every_computed_number_of_the_contract_is_rounded() -> None:
    models = [
        each
        for each in vars(markbook.contract).values()
        if isinstance(each, type) and issubclass(each, BaseModel)
    ]
    assert len(models) > 15
    assert {name for model in models for name in floats(model)} == AS_SET | AS_KEPT


@pytest.mark.parametrize("score", [-0.0000001, 1.0000001])
def test_a_score_outside_of_its_range_is_not_rounded_into_it(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        Scored(
            score=score,
            source=Source.TEACHER,
            criteria=None,
            extracted_from=ExtractedFrom.COMPLETION,
            key="k",
            profile="p",
        )
