"""Outcomes of a batch's samples as they are stored while it is in progress, and what becomes of
them at its end.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from markbook.contract import (
    ErrorCode,
    RequestUsage,
    Result,
    SampleTests,
    ScoreRequest,
    ScoreResponse,
    Source,
)
from markbook.scoring.pipeline.group_scorer import Outcome, PreparedSample, SampleMark
from markbook.scoring.pipeline.results import (
    build_ledger_line,
    build_results,
    sum_baseline_tokens,
    sum_usage,
)
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import RequestLine
from markbook.scoring.types import ScoringFailure, TeacherCall

_TRY_AGAIN = (
    ErrorCode.TEACHER_UNAVAILABLE,
    ErrorCode.TEACHER_TIMEOUT,
    ErrorCode.REPLY_TRUNCATED,
    ErrorCode.REPLY_UNREADABLE,
)
_TRY_ALONE = (ErrorCode.REPLY_TRUNCATED, ErrorCode.REPLY_UNREADABLE, ErrorCode.TEACHER_REFUSED)


def is_worth_another_batch(failure: ScoringFailure, shown: int) -> bool:
    """Whether a sample that failed in a request of `shown` samples may have a mark if it is
    requested again.
    """
    return failure.code in _TRY_AGAIN or (failure.code is ErrorCode.TEACHER_REFUSED and shown > 1)


def is_to_be_alone(failure: str | None) -> bool:
    """Whether a sample with this stored failure is shown by itself: the reason may lie in the
    samples beside it.
    """
    return failure is not None and ErrorCode(json.loads(failure)["code"]) in _TRY_ALONE


def dump_outcome(outcome: Outcome) -> str:
    if isinstance(outcome, ScoringFailure):
        return json.dumps(asdict(outcome))
    tests = None if outcome.tests is None else outcome.tests.model_dump()
    criteria = None if outcome.criteria is None else dict(outcome.criteria)
    values = {
        "source": outcome.source,
        "score": outcome.score,
        "criteria": criteria,
        "reasons": outcome.reasons,
    }
    return json.dumps({**values, "tests": tests})


def load_outcome(text: str) -> Outcome:
    values = json.loads(text)
    if "code" in values:
        return ScoringFailure(ErrorCode(values["code"]), values["detail"], values["retry_after_s"])
    tests = None if values["tests"] is None else SampleTests.model_validate(values["tests"])
    return SampleMark(
        Source(values["source"]),
        values["score"],
        values["criteria"],
        tuple(values["reasons"]),
        tests,
    )


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """The results of a batch and the line that counts it."""

    results: Sequence[Result]
    usage: RequestUsage
    line: RequestLine

    def response(self) -> bytes:
        """As it is stored: JSON, zlib."""
        return zlib.compress(
            ScoreResponse(results=list(self.results), usage=self.usage).model_dump_json().encode()
        )


def end_batch(
    batch: str,
    request: ScoreRequest,
    items: Sequence[PreparedSample],
    outcomes: Mapping[bytes, Outcome],
    bills: Sequence[TeacherCall],
    rubric: Rubric,
    at_ms: int,
) -> EndedBatch:
    """`outcomes`: of every sample, by digest; `bills`: of all its requests.

    The line has the batch's id.
    """
    profile = items[0].print.profile if items else ""
    results = list(build_results(items, outcomes, list(outcomes), profile))
    line = build_ledger_line(
        request, items, results, at_ms, sum_baseline_tokens(items, results, rubric)
    )
    return EndedBatch(results, sum_usage(bills), replace(line, request_id=batch))


def load_response(response: bytes) -> ScoreResponse:
    return ScoreResponse.model_validate_json(zlib.decompress(response))
