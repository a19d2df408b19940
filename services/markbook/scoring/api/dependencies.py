"""What the routes share for the life of the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from markbook.config.settings import Config
from markbook.scoring.alerts.monitor import AlertMonitor
from markbook.scoring.observability.agreement import AgreementWatch
from markbook.scoring.observability.metrics import Metrics
from markbook.scoring.pipeline.batches import BatchService
from markbook.scoring.pipeline.explainer import Explainer
from markbook.scoring.pipeline.pipeline import Pipeline
from markbook.scoring.store import Store
from markbook.scoring.teachers.protocol import Teacher


@dataclass(frozen=True, slots=True)
class AppState:
    config: Config
    teacher: Teacher
    store: Store
    pipeline: Pipeline
    clock_ms: Callable[[], int]
    metrics: Metrics
    agreement: AgreementWatch
    alerts: AlertMonitor
    explainer: Explainer
    batches: BatchService


def get_state(request: Request) -> AppState:
    state = request.app.state.markbook
    assert isinstance(state, AppState)
    return state
