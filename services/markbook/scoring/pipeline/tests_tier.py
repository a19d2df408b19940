"""The tests tier: a sample that fails needs no teacher; one that passes is correct whatever the
teacher scores.

a test failed      -> scored here (source `tests`), unless rlaif.tests_policy is advise
all tests passed   -> the teacher judges the rest; correctness is 1.0 (only: scored here)
some were not run  -> the teacher's correctness counts: nothing was proven either way (only:
unscored)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from markbook.config.settings import Rlaif
from markbook.contract import ErrorCode, SampleTests, Source
from markbook.scoring.concurrency import gather_all
from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution import TestRunner, verdict_digest
from markbook.scoring.fair_queue import Caller
from markbook.scoring.pipeline.group_scorer import PreparedSample, SampleMark
from markbook.scoring.pipeline.sample_tests import share_passed, summarized
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import Verdicts
from markbook.scoring.types import CORRECTNESS, ScoringFailure

FAILED = "tests_failed"
"""The reason of a sample that a failed test decided."""
LOWEST = 0.05
"""Of a sample that runs: what the heuristic tier rejects gets at most this."""
LANGUAGE = "python"

_MISSING = ScoringFailure(
    ErrorCode.TESTS_MISSING, "rlaif.tests_policy is only, and this sample has no tests"
)
_NOT_RUN = ScoringFailure(
    ErrorCode.TESTS_UNSUPPORTED,
    "rlaif.tests_policy is only, and the sandbox lacks what the sample or its tests use",
)


class TestsTier:
    """Runs the tests of samples and decides what they decide. Verdicts are kept in the store, those
    of timeouts not: a busy machine is no property of code.
    """

    __test__ = False  # pytest takes classes named Test* for tests

    def __init__(
        self, runner: TestRunner, verdicts: Verdicts, rlaif: Rlaif, rubric: Rubric
    ) -> None:
        self._runner = runner
        self._verdicts = verdicts
        self._policy = rlaif.tests_policy
        self._weight = max(LOWEST, rubric.criteria.get(CORRECTNESS, LOWEST))

    async def recall(self, items: Sequence[PreparedSample]) -> list[PreparedSample]:
        """The items, those whose verdict is in the store with it."""
        digests = {item.print.digest: self._digest(item) for item in items if item.tests}
        known = await self._verdicts.get([*digests.values()])
        return [
            replace(item, verdict=known.get(digests[item.print.digest])) if item.tests else item
            for item in items
        ]

    async def run(
        self, items: Sequence[PreparedSample], caller: Caller, now_ms: int
    ) -> tuple[list[PreparedSample], list[tuple[PreparedSample, ScoringFailure]]]:
        """Run the tests of the items without a verdict: all items with theirs, and those that
        have none, with why.
        """
        untested = [item for item in items if item.tests and item.verdict is None]
        ran = await gather_all([self._run(item, caller) for item in untested])
        outcomes = {
            item.print.digest: outcome for item, (outcome, _) in zip(untested, ran, strict=True)
        }
        kept = {
            self._digest(item): outcome
            for item, (outcome, lasting) in zip(untested, ran, strict=True)
            if lasting and isinstance(outcome, SampleTests)
        }
        await self._verdicts.add(kept, now_ms)
        done: list[PreparedSample] = []
        failed: list[tuple[PreparedSample, ScoringFailure]] = []
        for item in items:
            outcome = outcomes.get(item.print.digest, item.verdict)
            if isinstance(outcome, ScoringFailure):
                failed.append((item, outcome))
            else:
                done.append(replace(item, verdict=outcome))
        return done, failed

    def decide(self, item: PreparedSample) -> SampleMark | ScoringFailure | None:
        """What the tests make of a tested item; None: the teacher is to be asked."""
        verdict = item.verdict
        if verdict is None:
            return _MISSING if self._policy == "only" else None
        share = share_passed(verdict)
        if share is not None and share < 1 and self._policy != "advise":
            score = LOWEST + (self._weight - LOWEST) * share
            return SampleMark(Source.TESTS, score, {CORRECTNESS: share}, (FAILED,), verdict)
        if self._policy != "only":
            return None
        return (
            _NOT_RUN
            if share is None
            else SampleMark(Source.TESTS, 1.0, {CORRECTNESS: 1.0}, (), verdict)
        )

    def stop(self) -> None:
        """Refuse those who wait for a sandbox; what runs is decided."""
        self._runner.stop()

    def close(self) -> None:
        """End the sandboxes. Blocks for as long as the tests that run have left."""
        self._runner.close()

    def _digest(self, item: PreparedSample) -> bytes:
        return verdict_digest(item.code, item.tests, item.test_setup, self._runner.identity)

    async def _run(
        self, item: PreparedSample, caller: Caller
    ) -> tuple[SampleTests | ScoringFailure, bool]:
        """The verdict, and whether it would be the same at any time."""
        if item.language != LANGUAGE:
            detail = (
                f"tests can be run in {LANGUAGE} only, not in {item.language}: send the "
                "sample without them"
            )
            return ScoringFailure(ErrorCode.TESTS_UNSUPPORTED, detail), False
        try:
            results = await self._runner.run(item.code, item.tests, item.test_setup, caller=caller)
        except ExecutionUnavailableError as error:
            return ScoringFailure(ErrorCode.EXECUTION_UNAVAILABLE, error.detail, 1.0), False
        lasting = await self._runner.has_cached(item.code, item.tests, item.test_setup)
        return summarized(item.tests, results), lasting
