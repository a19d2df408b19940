"""`/runs/NAME/metrics`: figures that a trainer reports about its run, such as evaluations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from markbook.contract.wire import RunName, WireModel

MARK, PASS_AT_1 = "mark", "pass_at_1"
"""Metrics that the dashboard draws, in [0, 1]: the mean mark, and the share of samples that pass
their tests.
"""
MAX_METRICS = 32
"""Metrics in one report."""

MetricName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:/@+-]+$")
]
# strict: else `true` would be 1.0
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Metric(WireModel):
    """A figure, with its interval where it has one."""

    value: Finite = Field(description="The figure; a finite number.")
    low: Finite | None = Field(
        default=None, description="Lower end of its interval; given with `high` or not at all."
    )
    high: Finite | None = Field(default=None, description="Upper end of its interval.")

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has both low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")
        return self


class MetricsReport(WireModel):
    """What a trainer reports after one of its steps.

    Reporting a metric of the same step again replaces it.
    """

    step: int = Field(
        ge=0, le=10**12, strict=True, description="Step of the run after which this was measured."
    )
    metrics: dict[MetricName, Metric] = Field(
        min_length=1,
        max_length=MAX_METRICS,
        description="By name. The dashboard draws `mark` (the mean mark of an evaluation) and "
        "`pass_at_1`, in [0, 1].",
    )


class StoredMetrics(WireModel):
    """The answer to a report."""

    stored: int = Field(description="Metrics stored.")


class RunMetric(Metric):
    """A reported figure."""

    step: int = Field(description="Step of the run after which it was measured.")
    name: MetricName = Field(description="The name it was reported under.")
    reported_at: datetime = Field(description="When the service received it.")


class RunMetrics(WireModel):
    """What was reported about a run."""

    run: RunName = Field(description="The run.")
    metrics: list[RunMetric] = Field(description="By step, then by name; the newest 10,000.")
