"""Both audits of a request: of the heuristic tier, and of the teacher against tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from markbook.config.settings import Config
from markbook.scoring.concurrency import results_of_all
from markbook.scoring.heuristics import HeuristicResult
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample
from markbook.scoring.pipeline.heuristic_audit import HeuristicAuditor
from markbook.scoring.pipeline.request_state import RequestState
from markbook.scoring.pipeline.tests_audit import TestsAuditor
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import Store

log = logging.getLogger("markbook")


class Auditors:
    def __init__(
        self,
        config: Config,
        scorer: GroupScorer,
        store: Store,
        rubric: Rubric,
        clock_ms: Callable[[], int],
    ) -> None:
        self._heuristics = HeuristicAuditor(config, scorer, store, rubric, clock_ms)
        self._tests = TestsAuditor(config, scorer, store, rubric, clock_ms)

    def start(
        self,
        state: RequestState,
        owned: Sequence[PreparedSample],
        rejected: Sequence[tuple[PreparedSample, HeuristicResult]],
    ) -> list[Coroutine[Any, Any, None]]:
        """The audits that follow from `owned`, whose cheaper tiers are done, and from
        `rejected`; none raises.
        """
        work: list[Coroutine[Any, Any, None]] = []
        if rejected:
            work.append(_without_errors(self._heuristics.audit(state.billing, rejected)))
        if self._tests.is_on:
            resolved = state.resolved()
            known = [
                (item, resolved[item.print.digest])
                for item in owned
                if item.print.digest in resolved
            ]
            if failed := self._tests.choose(known):
                work.append(_without_errors(self._tests.audit(state.billing, failed)))
        return work


async def _without_errors(audit: Coroutine[Any, Any, None]) -> None:
    [error] = await results_of_all([audit])
    if error is not None:  # no mark depends on it
        log.error("audit failed: %r", error, exc_info=error)
