"""Asks the teacher about the samples of one task in one call; marks and costs are durable before
anybody sees them.
"""

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
from markbook.scoring.pipeline.sample_tests import all_passed, with_verdict
from markbook.scoring.prompts.prompt import truncate_task
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import CallContext, NewMark, RequestLine, Store, Texts
from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Teacher
from markbook.scoring.types import CORRECTNESS, Judgment, ScoringFailure


@dataclass(frozen=True, slots=True)
class PreparedSample:
    """A sample with its code extracted and its mark's fingerprint.

    `verdict`: of its tests, once they ran.
    """

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
    """The mark of a sample. `criteria` is None when the heuristic tier rejected it."""

    source: Source
    score: float
    criteria: Mapping[str, float] | None
    reasons: tuple[str, ...]
    tests: SampleTests | None = None


Outcome = SampleMark | ScoringFailure


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The teacher's outcome per item of one group, in order. `limiter` holds what it cost."""

    group_id: str
    outcomes: Sequence[Judgment | ScoringFailure]
    limiter: RunBudgetLimiter


class GroupScorer:
    def __init__(
        self,
        config: Config,
        teacher: Teacher,
        store: Store,
        rubric: Rubric,
        clock_ms: Callable[[], int],
    ) -> None:
        self._rlaif = config.rlaif
        self._budgets = config.budgets
        self._max_group_size = config.teacher.max_group_size
        self._teacher = teacher
        self._store = store
        self._rubric = rubric
        self._clock_ms = clock_ms
        self.stopped = asyncio.Event()
        """Set at shutdown: no teacher call is started any more."""

    def groups(self, items: Sequence[PreparedSample]) -> Iterator[list[PreparedSample]]:
        """Groups of samples of one task and language, at most `max_group_size` each."""
        tasks: defaultdict[tuple[str, str], list[PreparedSample]] = defaultdict(list)
        for item in items:
            tasks[item.prompt, item.language].append(item)
        size = self._max_group_size
        for group in tasks.values():
            yield from (group[start : start + size] for start in range(0, len(group), size))

    async def ask(
        self,
        billing: BillingContext,
        items: Sequence[PreparedSample],
        completed_lines: Callable[[Sequence[Outcome]], Sequence[RequestLine]],
    ) -> list[Outcome]:
        """Ask the teacher about one group and store its marks: one outcome per item, in order.

        `completed_lines` returns the ledger lines of the requests that these outcomes complete;
        they are written in the transaction of the marks. Raises ClaimConflictError when another
        replica has claimed or stored any item.
        """
        async with self.score_group(billing, items, [item.print for item in items]) as result:
            pairs = list(zip(items, result.outcomes, strict=True))
            marked = [
                new_mark(item, outcome) for item, outcome in pairs if isinstance(outcome, Judgment)
            ]
            failures = {
                item.print.digest: outcome
                for item, outcome in pairs
                if isinstance(outcome, ScoringFailure)
            }
            bills = result.limiter.pop_unwritten()
            outcomes = [self._outcome(item, outcome) for item, outcome in pairs]
            lines = completed_lines(outcomes)
            await self._store.record_group(
                self._clock_ms(), result.group_id, marked, failures, bills, lines, billing.run
            )
        return outcomes

    @asynccontextmanager
    async def score_group(
        self,
        billing: BillingContext,
        items: Sequence[PreparedSample],
        to_claim: Sequence[Fingerprint] = (),
        *,
        explain: bool = False,
    ) -> AsyncIterator[GroupResult]:
        """Ask the teacher about one group, charged to `billing`, without storing the outcomes.

        `to_claim` is claimed before the first call. `explain`: with reasons, whatever
        teacher.explain is. All costs are written when the context ends.
        """
        task = truncate_task(
            items[0].prompt,
            truncate=self._rlaif.truncate_prompt_for_scoring,
            chars=self._rlaif.prompt_context_chars,
            policy=self._rlaif.prompt_context_policy,
        )
        group_id = hashlib.sha256(b"".join(item.print.digest for item in items)).hexdigest()[:16]
        context = CallContext(
            billing.run, group_id, len(items), billing.key.name if billing.key else None
        )
        limiter = RunBudgetLimiter(
            self._store,
            context,
            self._budgets,
            self._clock_ms,
            billing.key,
            billing.bills,
            to_claim,
            self.stopped,
        )
        codes = tuple(item.code for item in items)
        group = Group(group_id, task, items[0].language, codes, billing.caller, explain)
        try:
            yield GroupResult(group_id, await self._outcomes(group, limiter), limiter)
        finally:
            self._store.claims.untrack(each.digest for each in to_claim)
            await limiter.wait_settled()

    async def _outcomes(
        self, group: Group, limiter: BudgetLimiter
    ) -> Sequence[Judgment | ScoringFailure]:
        try:
            return await self._teacher.mark(group, limiter)
        except TeacherError as error:
            return (ScoringFailure(error.code, error.detail, error.retry_after_s),) * len(
                group.codes
            )

    def _outcome(self, item: PreparedSample, outcome: Judgment | ScoringFailure) -> Outcome:
        if isinstance(outcome, ScoringFailure):
            return outcome
        return self.mark(item, Source.TEACHER, outcome.criteria, outcome.reasons)

    def mark(
        self,
        item: PreparedSample,
        source: Source,
        criteria: Mapping[str, float],
        reasons: tuple[str, ...],
    ) -> SampleMark:
        """The item's mark from the teacher's criteria; where tests ran, they decide correctness."""
        shown = with_verdict(criteria, item.verdict)
        return SampleMark(source, self._rubric.score(shown), shown, reasons, item.verdict)


def new_mark(item: PreparedSample, judgment: Judgment) -> NewMark:
    return NewMark(
        item.print,
        judgment.criteria,
        judgment.reasons,
        judgment.place,
        judgment.shown,
        item.texts,
        passed=all_passed(item.verdict) if CORRECTNESS in judgment.criteria else None,
        tests=item.verdict,
        exchange=judgment.exchange,
    )
