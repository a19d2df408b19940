"""Builds what a client gets back (one result per sample, usage) and the request's ledger line."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from markbook.contract import (
    RequestUsage,
    Result,
    SampleError,
    Scored,
    ScoreRequest,
    Source,
    Unscored,
)
from markbook.scoring.heuristics import explain
from markbook.scoring.pipeline.group_scorer import Outcome, PreparedSample
from markbook.scoring.prompts.prompt import baseline_tokens
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import RequestLine, score_sums
from markbook.scoring.types import ScoringFailure, TeacherCall


def build_results(
    items: Sequence[PreparedSample],
    outcomes: Mapping[bytes, Outcome],
    owned: Sequence[bytes],
    profile: str,
) -> Iterator[Result]:
    """One result per item.

    The first item of an owned digest has its source, later ones are coalesced with it.
    """
    unclaimed = set(owned)
    for item in items:
        outcome = outcomes[item.print.digest]
        if isinstance(outcome, ScoringFailure):
            error = SampleError(
                code=outcome.code, detail=outcome.detail, retry_after_s=outcome.retry_after_s
            )
            yield Unscored(
                error=error, extracted_from=item.extracted_from, key=item.print.key, profile=profile
            )
            continue
        source = outcome.source
        if item.print.digest in unclaimed:
            unclaimed.remove(item.print.digest)
        elif source is Source.TEACHER:
            source = Source.COALESCED
        yield Scored(
            score=outcome.score,
            source=source,
            criteria=None if outcome.criteria is None else dict(outcome.criteria),
            reasons=list(outcome.reasons),
            tests=outcome.tests,
            explanation=explain(outcome.reasons) if source is Source.HEURISTIC else None,
            extracted_from=item.extracted_from,
            key=item.print.key,
            profile=profile,
        )


def sum_usage(calls: Sequence[TeacherCall]) -> RequestUsage:
    costs = [call.cost_usd for call in calls]
    return RequestUsage(
        teacher_calls=len(calls),
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        cache_read_input_tokens=sum(call.cache_read_input_tokens for call in calls),
        cache_creation_input_tokens=sum(call.cache_creation_input_tokens for call in calls),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def build_ledger_line(
    request: ScoreRequest,
    items: Sequence[PreparedSample],
    results: Sequence[Result],
    at_ms: int,
    baseline_tokens: int,
) -> RequestLine:
    """`baseline_tokens`: what one call per sample would have sent for the scored samples."""
    sources = Counter(result.source for result in results if isinstance(result, Scored))
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for result in results:
        if isinstance(result, Scored):
            scores[result.source.value].append(result.score)
    return RequestLine(
        request_id=line_id(request, items),
        run=request.run,
        at_ms=at_ms,
        samples=len(results),
        heuristic=sources[Source.HEURISTIC],
        tests=sources[Source.TESTS],
        cache=sources[Source.CACHE],
        coalesced=sources[Source.COALESCED],
        teacher=sources[Source.TEACHER],
        unscored=Counter(
            result.error.code.value for result in results if isinstance(result, Unscored)
        ),
        baseline_tokens=baseline_tokens,
        scores={source: score_sums.sum_scores(each) for source, each in scores.items()},
    )


def line_id(request: ScoreRequest, items: Sequence[PreparedSample]) -> str:
    """Stable for a request that is sent again; different for other samples under the same
    request id.
    """
    if request.request_id is None:
        return f"{random.getrandbits(128):032x}"  # not uuid4, which asks the system each time
    digests = b"".join(item.print.digest for item in items)
    return hashlib.sha256(f"{request.run} {request.request_id} ".encode() + digests).hexdigest()[
        :32
    ]


def sum_baseline_tokens(
    items: Sequence[PreparedSample], results: Sequence[Result], rubric: Rubric
) -> int:
    """Tokens that one call per sample, each with the whole rubric and task, would have sent for
    the scored samples.
    """
    scored = [
        item for item, result in zip(items, results, strict=True) if isinstance(result, Scored)
    ]
    return sum(baseline_tokens(item.prompt, item.code, rubric, item.language) for item in scored)
