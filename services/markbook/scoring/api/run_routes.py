"""`/runs/NAME/metrics`: figures that a trainer reports about its run, and reading them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Request

from markbook.contract import MetricsReport, RunMetric, RunMetrics, RunName, StoredMetrics
from markbook.scoring.api.auth import check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.dependencies import get_state
from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.request_body import read_object, validated
from markbook.scoring.api.routers import create_router
from markbook.scoring.observability.logs import current
from markbook.scoring.store import Viewer

MAX_BODY_BYTES = 16_384
"""Of a report: MAX_METRICS metrics with long names and all digits are half of it."""

run_router = create_router(prefix="/runs/{run:path}/metrics", tags=["statistics"])

Run = Annotated[
    RunName, Path(description="The run's name; a slash in it may be written as it is, or as %2F.")
]


@run_router.post(
    "", response_model=StoredMetrics, responses=error_responses(403, 408, 413, 415, 429, 503)
)
async def report_run_metrics(request: Request, run: Run) -> StoredMetrics:
    """Report figures of a run after one of its steps, such as an evaluation.

    The dashboard draws some of them.

    A metric of the same step replaces the one before it. Of a run the newest 10,000 values are
    kept.
    """
    state, key = get_state(request), get_api_key(request)
    check_run(key, run)
    current().set_request(run, None)
    report = validated(
        MetricsReport, await read_object(request, state.config.service, MAX_BODY_BYTES)
    )
    values = {
        name: (metric.value, metric.low, metric.high) for name, metric in report.metrics.items()
    }
    await state.store.run_metrics.add(run, report.step, values, state.clock_ms())
    return StoredMetrics(stored=len(values))


@run_router.get("", responses=error_responses(403, 503))
async def get_run_metrics(request: Request, run: Run) -> RunMetrics:
    """What was reported about a run; a run that has reported nothing has an empty list."""
    state, key = get_state(request), get_api_key(request)
    check_run(key, run)
    found = await state.store.run_metrics.of_runs(Viewer(key), [run])
    metrics = [
        RunMetric(
            step=each.step,
            name=each.name,
            value=each.value,
            low=each.low,
            high=each.high,
            reported_at=datetime.fromtimestamp(each.at_ms / 1000, UTC),
        )
        for each in sorted(found, key=lambda each: (each.step, each.name))
    ]
    return RunMetrics(run=run, metrics=metrics)
