"""Figures of a run as a caller has them, made into a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from markbook.client.errors import InvalidRequestError
from markbook.contract import Metric, MetricsReport, RunName

MetricLike = float | Metric | Mapping[str, Any]
"""A number, or a Metric, or a mapping with its fields: `value`, and optionally `low` and `high`."""


def make_report(step: int, metrics: Mapping[str, MetricLike]) -> MetricsReport:
    """Raises InvalidRequestError for the first field that cannot be sent."""
    values = {
        name: {"value": each} if isinstance(each, int | float) else each
        for name, each in metrics.items()
    }
    try:
        return MetricsReport.model_validate({"step": step, "metrics": values})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequestError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def metrics_path(run: str) -> str:
    """The path of the run's metrics. Raises InvalidRequestError for what is not a run's name."""
    try:
        TypeAdapter(RunName).validate_python(run)
    except ValidationError as error:
        raise InvalidRequestError(f"run: {error.errors()[0]['msg']}") from error
    # dots too: a run may be named `..`, which would be taken for the folder above
    return f"/runs/{quote(run, safe='').replace('.', '%2E')}/metrics"
