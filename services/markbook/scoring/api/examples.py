"""Examples for the OpenAPI description: a request and a response per route, made of the models
that they are of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from markbook.contract import (
    MARK,
    BatchState,
    Bucket,
    BudgetState,
    CacheStats,
    Counters,
    ExtractedFrom,
    KeptGroup,
    KeptMarks,
    MarkRecord,
    Metric,
    MetricsReport,
    ProfileInputs,
    RequestUsage,
    RunMetric,
    RunMetrics,
    Sample,
    SampleError,
    Scored,
    ScoreRequest,
    ScoreResponse,
    ScoreStats,
    Series,
    SeriesPoint,
    Source,
    Stats,
    StoredMetrics,
    TeacherStats,
    Unscored,
)
from markbook.contract import ErrorCode as Code
from markbook.scoring.api.batch_routes import QUEUED
from markbook.scoring.api.reward_models import (
    RewardRequest,
    RewardResponse,
    VerifyRequest,
    VerifyResponse,
)

_TASK = "Write add(a, b) that returns the sum."
_CODE = 'def add(a, b):\n    """The sum of a and b."""\n    return a + b'
_OTHER = "def add(a, b):\n    return sum((a, b))"
_KEY = "STUDENT:bf1d4bf0179f:9c2a7b1d04ee:python"
_PROFILE = "2a01c9de4de7b0fd"
_CRITERIA = {"correctness": 1.0, "code_quality": 0.9, "efficiency": 1.0, "documentation": 0.8}

_SCORED = Scored(
    score=0.93,
    source=Source.TEACHER,
    criteria=_CRITERIA,
    extracted_from=ExtractedFrom.COMPLETION,
    key=_KEY,
    profile=_PROFILE,
)
_UNSCORED = Unscored(
    error=SampleError(
        code=Code.TEACHER_UNAVAILABLE, detail="the teacher is overloaded", retry_after_s=8.0
    ),
    extracted_from=ExtractedFrom.COMPLETION,
    key="STUDENT:bf1d4bf0179f:e2b06d2f6f37:python",
    profile=_PROFILE,
)
_COUNTERS = Counters(
    samples=96,
    by_source={
        Source.HEURISTIC: 12,
        Source.TESTS: 20,
        Source.CACHE: 30,
        Source.COALESCED: 2,
        Source.TEACHER: 31,
    },
    scores=ScoreStats(
        count=95,
        mean=0.5,
        std=0.351189,
        sum=47.5,
        sum_of_squares=35.466667,
        histogram=[30, 2, 1, 4, 8, 10, 12, 14, 10, 4],
    ),
    unscored=1,
    unscored_by_code={Code.TEACHER_UNAVAILABLE: 1},
    teacher_calls=8,
    api_tokens_sent=16_512,
    api_tokens_received=208,
    cache_read_input_tokens=6_580,
    cache_creation_input_tokens=940,
    billed_input_equivalent=11_865.0,
    tokens_saved=251_000,
    cost_usd=0.0011865,
)
_STATS = Stats(
    totals=_COUNTERS,
    runs={"my-run": _COUNTERS},
    cache=CacheStats(entries=31, bytes=163_840),
    teacher=TeacherStats(
        name="anthropic",
        model="claude-haiku-5-5",
        is_stub=False,
        description="claude-haiku-5-5 at the provider's API",
    ),
    profile=_PROFILE,
    budgets={
        "total": BudgetState(
            spent_usd=0.0011865, limit_usd=5.0, spent_tokens=16_720, limit_tokens=None
        )
    },
    policy={"use_tests": True, "tests_policy": "gate", "prompt_context_chars": 200},
    profile_inputs=ProfileInputs(
        teacher={"name": "anthropic", "model": "claude-haiku-5-5"},
        rubric="88465558171b",
        template="0299d7d49d1a",
        extractor="2",
        max_group_size=8,
        prompt_chars=200,
        prompt_policy="head",
        rubric_in_system_prompt=True,
    ),
    since="2026-11-22T18:00:00.000+00:00",
)
_SERIES = Series(
    since="2026-11-22T18:00:00.000+00:00",
    bucket=Bucket.HOUR,
    points=[SeriesPoint(bucket_start="2026-11-22T18:00:00.000+00:00", runs={"my-run": _COUNTERS})],
)
_MARKS = KeptMarks(
    marks=[
        MarkRecord(
            key=_KEY,
            profile=_PROFILE,
            digest="86389afc74c7803c519b2575e34b85a56927ae29da899c1d055d7232a8ebaea3",
            language="python",
            score=0.93,
            criteria=_CRITERIA,
            reasons=[],
            created_at=datetime(2026, 11, 22, 18, 5, tzinfo=UTC),
            group=KeptGroup(id="9cfb5d091809a086", position=1, size=2),
            task=_TASK,
            code=_CODE,
        )
    ]
)
_MARK_METRIC = RunMetric(
    name=MARK,
    value=0.71,
    low=0.66,
    high=0.76,
    step=20,
    reported_at=datetime(2026, 11, 22, 18, 5, tzinfo=UTC),
)
_VERIFY = {
    "responses_create_params": {"input": [{"role": "user", "content": _TASK}]},
    "response": {
        "output": [{"type": "message", "role": "assistant", "content": f"```python\n{_CODE}\n```"}]
    },
    "verifier_metadata": {"language": "python", "run": "my-run"},
}
_METRICS = """\
# HELP markbook_samples_total Samples scored, by source of the mark.
# TYPE markbook_samples_total counter
markbook_samples_total{source="teacher"} 31.0
"""

REQUESTS: dict[str, Any] = {
    "score": ScoreRequest(
        run="my-run",
        samples=[
            Sample(prompt=_TASK, language="python", code=_CODE),
            Sample(prompt=_TASK, language="python", code=_OTHER),
        ],
    ).model_dump(mode="json", exclude_unset=True),
    "get_reward": RewardRequest(
        query=[f"<|user|>{_TASK}<|assistant|>{_CODE}"],
        prompts=[f"<|user|>{_TASK}<|assistant|>"],
        labels=[{"prompt": _TASK, "language": "python"}],
    ).model_dump(mode="json"),
    "verify": VerifyRequest.model_validate(_VERIFY).model_dump(mode="json", exclude_unset=True),
    "report_run_metrics": MetricsReport(
        step=20,
        metrics={"mark": Metric(value=0.71, low=0.66, high=0.76), "pass_at_1": Metric(value=0.4)},
    ).model_dump(mode="json", exclude_unset=True),
}
"""By operation id."""

RESPONSES: dict[str, Any] = {
    "score": ScoreResponse(
        results=[_SCORED, _UNSCORED],
        usage=RequestUsage(
            teacher_calls=1,
            input_tokens=612,
            output_tokens=26,
            cache_read_input_tokens=940,
            cost_usd=8.36e-05,
        ),
    ).model_dump(mode="json"),
    "get_batch": QUEUED.model_copy(
        update={
            "state": BatchState.ENDED,
            "ended_at": datetime(2026, 11, 22, 18, 41, tzinfo=UTC),
            "results": [_SCORED, _UNSCORED],
            "usage": RequestUsage(
                teacher_calls=1, input_tokens=612, output_tokens=26, cost_usd=4.18e-05
            ),
        }
    ).model_dump(mode="json"),
    "get_stats": _STATS.model_dump(mode="json"),
    "get_stats_series": _SERIES.model_dump(mode="json"),
    "report_run_metrics": StoredMetrics(stored=2).model_dump(mode="json"),
    "get_run_metrics": RunMetrics(run="my-run", metrics=[_MARK_METRIC]).model_dump(mode="json"),
    "get_mark": _MARKS.model_dump(mode="json"),
    "get_metrics": _METRICS,
    "get_health": {"status": "ok"},
    "get_readiness": {"status": "ready"},
    "get_reward": RewardResponse(
        rewards=[0.93],
        scores=[0.93],
        extra_logs={"markbook_cached": [0.0], "markbook_heuristic": [0.0]},
    ).model_dump(mode="json"),
    "verify": VerifyResponse.model_validate(
        _VERIFY | {"reward": 0.93, "markbook": _SCORED}
    ).model_dump(mode="json"),
}
"""By operation id; the answers with status 200."""
