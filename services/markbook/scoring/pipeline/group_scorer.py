"""Asking the teacher: samples of one task in one call, marks and bill durable before anybody sees them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from markbook.config.settings import Config
from markbook.contract import ExtractedFrom, SampleTests, Source
from markbook.scoring.budgets.limiter import BillingContext, RunBudgetLimiter
from markbook.scoring.errors import TeacherError
from markbook.scoring.fingerprint import Fingerprint, hash_tests
from markbook.scoring.pipeline.sample_tests import with_verdict
from markbook.scoring.prompts.prompt import shown_task
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import CallContext, NewMark, RequestLine, Store, Texts
from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Teacher
from markbook.scoring.types import Judgment, ScoringFailure


@dataclass(frozen=True, slots=True)
class PreparedSample:
    """A sample made ready: what is judged, and the name of its mark. `verdict`: of its tests, once they ran."""

    prompt: str
    language: str
    code: str
    extracted_from: ExtractedFrom
    print: Fingerprint
    tests: tuple[str, ...] = ()
    test_setup: str = ""
    verdict: SampleTests | None = None

    @property
    def texts(self) -> Texts:
        return Texts(self.prompt, self.code, hash_tests(self.tests, self.test_setup))


@dataclass(frozen=True, slots=True)
class SampleMark:
    """What became of a sample that has a mark. `criteria` is None when the tier rejected it."""

    source: Source
    score: float
    criteria: Mapping[str, float] | None
    reasons: tuple[str, ...]
    tests: SampleTests | None = None


Outcome = SampleMark | ScoringFailure


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What the teacher said of one group: one outcome an item. `purse` paid for it."""

    group_id: str
    outcomes: Sequence[Judgment | ScoringFailure]
    purse: RunBudgetLimiter


class GroupScorer:
    def __init__(
        self, config: Config, teacher: Teacher, store: Store, rubric: Rubric, clock_ms: Callable[[], int]
    ) -> None:
        self._rlaif = config.rlaif
        self._budgets = config.budgets
        self._max_group_size = config.teacher.max_group_size
        self._teacher = teacher
        self._store = store
        self._rubric = rubric
        self._clock_ms = clock_ms
        self.stopped = asyncio.Event()
        """Set at a stop: no call begins any more."""

    def groups(self, items: Sequence[PreparedSample]) -> Iterator[list[PreparedSample]]:
        """Samples of one task and language together, at most `max_group_size`."""
        tasks: defaultdict[tuple[str, str], list[PreparedSample]] = defaultdict(list)
        for item in items:
            tasks[item.prompt, item.language].append(item)
        size = self._max_group_size
        for group in tasks.values():
            yield from (group[start : start + size] for start in range(0, len(group), size))

    async def ask(
        self,
        payer: BillingContext,
        items: Sequence[PreparedSample],
        ledger_line_if_complete: Callable[[Sequence[Outcome]], RequestLine | None],
    ) -> list[Outcome]:
        """One group to the teacher, its marks into the book: what became of each item, in their order.

        `ledger_line_if_complete`: the line of the request that these outcomes complete, written with the marks.
        Raises ClaimConflict when not all of them are this process's to ask for.
        """
        async with self.hear(payer, items, [item.print for item in items]) as said:
            pairs = list(zip(items, said.outcomes, strict=True))
            marked = [
                NewMark(
                    item.print,
                    outcome.criteria,
                    outcome.reasons,
                    outcome.place,
                    outcome.shown,
                    item.texts,
                )
                for item, outcome in pairs
                if isinstance(outcome, Judgment)
            ]
            failures = {item.print.digest: outcome for item, outcome in pairs if isinstance(outcome, ScoringFailure)}
            bills = said.purse.pop_unwritten()
            outcomes = [self._outcome(item, outcome) for item, outcome in pairs]
            line = ledger_line_if_complete(outcomes)
            await self._store.record_group(self._clock_ms(), said.group_id, marked, failures, bills, line, payer.run)
        return outcomes

    @asynccontextmanager
    async def hear(
        self, payer: BillingContext, items: Sequence[PreparedSample], wanted: Sequence[Fingerprint] = ()
    ) -> AsyncIterator[GroupResult]:
        """One group to the teacher, paid for by `payer`: what it said of each item, in their order, for you to keep.

        `wanted` is claimed before the first call. Every bill is written when the context ends.
        """
        task = shown_task(
            items[0].prompt,
            truncate=self._rlaif.truncate_prompt_for_scoring,
            chars=self._rlaif.prompt_context_chars,
            policy=self._rlaif.prompt_context_policy,
        )
        group_id = hashlib.sha256(b"".join(item.print.digest for item in items)).hexdigest()[:16]
        purpose = CallContext(payer.run, group_id, len(items), payer.key.name if payer.key else None)
        purse = RunBudgetLimiter(
            self._store, purpose, self._budgets, self._clock_ms, payer.key, payer.bills, wanted, self.stopped
        )
        group = Group(group_id, task, items[0].language, tuple(item.code for item in items), payer.caller)
        try:
            yield GroupResult(group_id, await self._outcomes(group, purse), purse)
        finally:
            self._store.claims.forget(each.digest for each in wanted)
            await purse.settled()

    async def _outcomes(self, group: Group, purse: BudgetLimiter) -> Sequence[Judgment | ScoringFailure]:
        try:
            return await self._teacher.mark(group, purse)
        except TeacherError as error:
            return (ScoringFailure(error.code, error.detail, error.retry_after_s),) * len(group.codes)

    def _outcome(self, item: PreparedSample, outcome: Judgment | ScoringFailure) -> Outcome:
        if isinstance(outcome, ScoringFailure):
            return outcome
        return self.mark(item, Source.TEACHER, outcome.criteria, outcome.reasons)

    def mark(
        self, item: PreparedSample, source: Source, criteria: Mapping[str, float], reasons: tuple[str, ...]
    ) -> SampleMark:
        """The teacher's criteria as the item's mark: where it was tested, correctness is what the tests have shown."""
        shown = with_verdict(criteria, item.verdict)
        return SampleMark(source, self._rubric.score(shown), shown, reasons, item.verdict)
