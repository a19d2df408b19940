"""What the routes share for the life of the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from services.scoring.metrics import Metrics
from services.scoring.pipeline import Pipeline
from services.scoring.store import Store
from services.scoring.teachers.base import Teacher
from shared.settings import Config


@dataclass(frozen=True, slots=True)
class State:
    config: Config
    teacher: Teacher
    store: Store
    pipeline: Pipeline
    clock_ms: Callable[[], int]
    metrics: Metrics


def state_of(request: Request) -> State:
    state = request.app.state.markbook
    assert isinstance(state, State)
    return state
