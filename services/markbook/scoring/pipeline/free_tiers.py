"""The tiers that cost nothing, for samples of a batch: stored marks, the heuristic tier, tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markbook.config.settings import Config
from markbook.contract import Source
from markbook.scoring.fair_queue import Caller
from markbook.scoring.pipeline.components import Tiers
from markbook.scoring.pipeline.group_scorer import GroupScorer, Outcome, PreparedSample, SampleMark
from markbook.scoring.store import Store, StoredMark

_TESTED_AT_ONCE = 64
"""Samples of a batch in the queue of the sandboxes: requests that clients wait for share it."""
_CHUNK = 500
"""Marks per lookup, far below the databases' limits for parameters."""


class FreeTiers:
    """The same tiers in the same order as in `Pipeline`, for samples that no client waits for."""

    def __init__(
        self,
        config: Config,
        store: Store,
        tiers: Tiers,
        scorer: GroupScorer,
        clock_ms: Callable[[], int],
    ) -> None:
        self._rlaif = config.rlaif
        self._store = store
        self._tier = tiers.heuristics
        self._tests = tiers.tests
        self._scorer = scorer
        self._clock_ms = clock_ms

    async def resolve(
        self, items: Sequence[PreparedSample], caller: Caller
    ) -> tuple[dict[bytes, Outcome], list[PreparedSample]]:
        """Outcomes by digest, and the samples that only the teacher can mark, with the verdicts of their tests."""
        stored = await self._stored(items)
        outcomes: dict[bytes, Outcome] = {}
        waiting: list[PreparedSample] = []
        for item in await self._tests.recall(items):
            known = None if item.tests and item.verdict is None else self._known(item, stored)
            if known is None:
                waiting.append(item)
            else:
                outcomes[item.print.digest] = known
        if self._rlaif.use_tiered_scoring:
            waiting = await self._reject(waiting, caller, outcomes)
        waiting = await self._run_tests(waiting, caller, outcomes)
        left: list[PreparedSample] = []
        for item in waiting:
            outcome = self._tests.decide(item) or self._cached(item, stored)
            if outcome is None:
                left.append(item)
            else:
                outcomes[item.print.digest] = outcome
        return outcomes, left

    async def _stored(self, items: Sequence[PreparedSample]) -> dict[bytes, StoredMark]:
        stored: dict[bytes, StoredMark] = {}
        for start in range(0, len(items), _CHUNK):
            part = [item.print for item in items[start : start + _CHUNK]]
            stored |= await self._store.marks.get(part, self._clock_ms())
        return stored

    def _known(self, item: PreparedSample, stored: dict[bytes, StoredMark]) -> Outcome | None:
        decided = self._tests.decide(item) if item.tests else None
        return decided or self._cached(item, stored)

    def _cached(self, item: PreparedSample, stored: dict[bytes, StoredMark]) -> Outcome | None:
        mark = stored.get(item.print.digest)
        return None if mark is None else self._scorer.mark(item, Source.CACHE, mark.criteria, mark.reasons)

    async def _run_tests(
        self, items: Sequence[PreparedSample], caller: Caller, outcomes: dict[bytes, Outcome]
    ) -> list[PreparedSample]:
        """The samples whose tests were run; the failures of the others are added to `outcomes`."""
        tested: list[PreparedSample] = []
        for start in range(0, len(items), _TESTED_AT_ONCE):
            part = items[start : start + _TESTED_AT_ONCE]
            done, failed = await self._tests.run(part, caller, self._clock_ms())
            tested += done
            outcomes |= {item.print.digest: failure for item, failure in failed}
        return tested

    async def _reject(
        self, items: Sequence[PreparedSample], caller: Caller, outcomes: dict[bytes, Outcome]
    ) -> list[PreparedSample]:
        """Add what the heuristic tier rejects to `outcomes`; returns the others."""
        results = await self._tier.classify([(item.code, item.prompt, item.language) for item in items], caller)
        passed: list[PreparedSample] = []
        for item, result in zip(items, results, strict=True):
            if result.score < self._rlaif.heuristic_score_threshold:
                outcomes[item.print.digest] = SampleMark(Source.HEURISTIC, result.score, None, result.reasons)
            else:
                passed.append(item)
        return passed
