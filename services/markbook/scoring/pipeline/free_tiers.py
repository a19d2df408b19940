"""The tiers that cost nothing, in their order, for samples of requests and of batches.

    stored verdicts and marks -> heuristic tier -> tests without a stored verdict -> marks of those
    that passed

What tests decide goes before a stored mark, so a sample whose verdict is not known yet is not
served from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markbook.config.settings import Config
from markbook.contract import Source
from markbook.scoring.fair_queue import Caller
from markbook.scoring.heuristics import HeuristicResult
from markbook.scoring.observability.tracing import span
from markbook.scoring.pipeline.components import Tiers
from markbook.scoring.pipeline.group_scorer import GroupScorer, Outcome, PreparedSample, SampleMark
from markbook.scoring.store import Store, StoredMark

TESTED_AT_ONCE = 64
"""Samples of a batch in the queue of the sandboxes: requests that clients wait for share it."""
_CHUNK = 500
"""Marks per lookup, far below the databases' limits for parameters."""

OnOutcome = Callable[[PreparedSample, Outcome], None]
Stored = Mapping[bytes, StoredMark]


@dataclass(frozen=True, slots=True)
class FreeResult:
    """`left`: samples that only the teacher can mark, with the verdicts of their tests. `rejected`:
    by the heuristic tier, with the reasons.
    """

    left: list[PreparedSample]
    rejected: list[tuple[PreparedSample, HeuristicResult]]


class FreeTiers:
    """`tested_at_once`: samples that wait for a sandbox together; None: all of a request."""

    def __init__(
        self,
        config: Config,
        store: Store,
        tiers: Tiers,
        scorer: GroupScorer,
        clock_ms: Callable[[], int],
        *,
        tested_at_once: int | None = None,
    ) -> None:
        self._rlaif = config.rlaif
        self._store = store
        self._tier = tiers.heuristics
        self._tests = tiers.tests
        self._scorer = scorer
        self._clock_ms = clock_ms
        self._tested_at_once = tested_at_once

    async def resolve(
        self, items: Sequence[PreparedSample], caller: Caller, on_outcome: OnOutcome
    ) -> FreeResult:
        """Find the outcomes that cost nothing; `on_outcome` is called with each as soon as it is
        known.

        `caller`: the run and key under which samples queue. Raises StoreUnavailableError and
        ServiceStoppingError.
        """
        with span("store lookup", **{"markbook.samples": len(items)}):
            stored = await self._stored(items)
            items = await self._tests.recall(items)
        left = _unresolved(items, lambda item: self._known(item, stored), on_outcome)
        rejected: list[tuple[PreparedSample, HeuristicResult]] = []
        if left and self._rlaif.use_tiered_scoring:
            left, rejected = await self._reject(left, caller, on_outcome)
        if left:
            left = await self._run_tests(left, caller, on_outcome)
            left = _unresolved(left, lambda item: self._decided(item, stored), on_outcome)
        return FreeResult(left, rejected)

    async def _stored(self, items: Sequence[PreparedSample]) -> dict[bytes, StoredMark]:
        stored: dict[bytes, StoredMark] = {}
        for start in range(0, len(items), _CHUNK):
            part = [item.print for item in items[start : start + _CHUNK]]
            stored |= await self._store.marks.get(part, self._clock_ms())
        return stored

    def _known(self, item: PreparedSample, stored: Stored) -> Outcome | None:
        """What needs neither classifier nor sandbox.

        Without tests a stored mark counts under every tests_policy.
        """
        if not item.tests:
            return self._cached(item, stored)
        return None if item.verdict is None else self._decided(item, stored)

    def _decided(self, item: PreparedSample, stored: Stored) -> Outcome | None:
        """What the tests make of a tested sample, else its stored mark."""
        return self._tests.decide(item) or self._cached(item, stored)

    def _cached(self, item: PreparedSample, stored: Stored) -> Outcome | None:
        mark = stored.get(item.print.digest)
        if mark is None:
            return None
        return self._scorer.mark(item, Source.CACHE, mark.criteria, mark.reasons)

    async def _reject(
        self, items: Sequence[PreparedSample], caller: Caller, on_outcome: OnOutcome
    ) -> tuple[list[PreparedSample], list[tuple[PreparedSample, HeuristicResult]]]:
        """The samples that passed the heuristic tier, and those that it rejects."""
        with span("heuristic tier", **{"markbook.samples": len(items)}):
            texts = [(item.code, item.prompt, item.language) for item in items]
            results = await self._tier.classify(texts, caller)
        passed: list[PreparedSample] = []
        rejected: list[tuple[PreparedSample, HeuristicResult]] = []
        for item, result in zip(items, results, strict=True):
            if result.score < self._rlaif.heuristic_score_threshold:
                on_outcome(item, SampleMark(Source.HEURISTIC, result.score, None, result.reasons))
                rejected.append((item, result))
            else:
                passed.append(item)
        return passed, rejected

    async def _run_tests(
        self, items: Sequence[PreparedSample], caller: Caller, on_outcome: OnOutcome
    ) -> list[PreparedSample]:
        """The samples with the verdicts of their tests, without those whose tests could not be
        run.
        """
        with_tests = sum(bool(item.tests) for item in items)
        if not with_tests:
            return list(items)
        tested: list[PreparedSample] = []
        size = self._tested_at_once or len(items)
        with span("tests", **{"markbook.samples": with_tests}):
            for start in range(0, len(items), size):
                part = items[start : start + size]
                done, failed = await self._tests.run(part, caller, self._clock_ms())
                tested += done
                for item, failure in failed:
                    on_outcome(item, failure)
        return tested


def _unresolved(
    items: Sequence[PreparedSample],
    resolve: Callable[[PreparedSample], Outcome | None],
    on_outcome: OnOutcome,
) -> list[PreparedSample]:
    """The items for which `resolve` has no outcome."""
    left: list[PreparedSample] = []
    for item in items:
        outcome = resolve(item)
        if outcome is None:
            left.append(item)
        else:
            on_outcome(item, outcome)
    return left
