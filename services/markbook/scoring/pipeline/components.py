"""Components of the pipeline that are passed together: its tiers, and the callbacks of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markbook.scoring.heuristics import HeuristicTier
from markbook.scoring.pipeline.tests_tier import TestsTier
from markbook.scoring.store import RequestLine


@dataclass(frozen=True, slots=True)
class Tiers:
    """The tiers that may decide a mark before the teacher is called."""

    heuristics: HeuristicTier
    tests: TestsTier


@dataclass(frozen=True, slots=True)
class Recorders:
    """Callbacks of the metrics: `request_counted` with the line of each request, `gathered` with
    the seconds that a sample waited for others of its task.
    """

    request_counted: Callable[[RequestLine], None]
    gathered: Callable[[float], None]
