"""One sample's way through the service, top to bottom.

    extract -> fingerprint -> claim here -> store          -- hit ----> cache
                                         -> heuristic tier -- reject -> heuristic
                                         -> tests          -- fail ---> tests
                                         -> claim in store -> teacher -> teacher, stored before anyone sees it
    someone else has the claim           -> wait           -----------> what the other got (coalesced)

Every sample is counted once: the sources and the failures sum to the samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from markbook.config.settings import Config
from markbook.contract import ScoreRequest, ScoreResponse, Source
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.concurrency import gather_all, raise_first, results_of_all, until_done
from markbook.scoring.errors import ServiceStopping, stopping
from markbook.scoring.fair_queue import Caller
from markbook.scoring.fingerprint import hash_profile
from markbook.scoring.heuristics import HeuristicResult, Tier
from markbook.scoring.observability.tracing import span
from markbook.scoring.pipeline.admission import AdmissionController
from markbook.scoring.pipeline.group_scorer import GroupScorer, Outcome, PreparedSample, SampleMark
from markbook.scoring.pipeline.heuristic_audit import Auditor
from markbook.scoring.pipeline.ledger_writer import LedgerWriter
from markbook.scoring.pipeline.preparation import prepared
from markbook.scoring.pipeline.profile_inputs import mark_identity
from markbook.scoring.pipeline.request_state import (
    ADMISSION_TIMEOUT,
    DEADLINE_EXCEEDED,
    RequestState,
    ScoredRequest,
    unpaid,
)
from markbook.scoring.pipeline.results import build_ledger_line, build_results, sum_baseline_tokens, sum_usage
from markbook.scoring.pipeline.single_flight import SingleFlight
from markbook.scoring.pipeline.tests_tier import TestsTier
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import ApiKey, ClaimConflict, RequestLine, Store, StoredMark
from markbook.scoring.teachers.protocol import Teacher

log = logging.getLogger("markbook")
Stored = Mapping[bytes, StoredMark]

CLAIM_POLL_INTERVAL_S = 0.1
"""Seconds between looks at what another replica is asking: small beside a teacher's answer, cheap for the database."""


class Pipeline:
    """Marks samples. `clock_ms` gives Unix milliseconds; `tell` hears of the counts of each request."""

    def __init__(
        self,
        config: Config,
        teacher: Teacher,
        store: Store,
        tier: Tier,
        tests: TestsTier,
        rubric: Rubric,
        clock_ms: Callable[[], int],
        tell: Callable[[RequestLine], None],
    ) -> None:
        self._tell = tell
        self._config = config
        self._teacher = teacher
        self._store = store
        self._tier = tier
        self._tests = tests
        self.rubric = rubric
        self._asker = GroupScorer(config, teacher, store, rubric, clock_ms)
        self._auditor = Auditor(config, self._asker, store, rubric, clock_ms)
        self._clock_ms = clock_ms
        self.ledger = LedgerWriter(store)
        limits = config.service
        self._reception = AdmissionController(limits.max_concurrent_requests, limits.max_queued_requests)
        self._flights: SingleFlight[bytes, Outcome] = SingleFlight()
        self._leading: set[asyncio.Task[None]] = set()
        self.identity = mark_identity(config, teacher, rubric)
        self.profile = hash_profile(self.identity)

    async def score(self, request: ScoreRequest, key: ApiKey | None = None) -> ScoreResponse:
        """Results in the order of the samples. What is not ready at the request's deadline is left unscored.

        Raises StoreUnavailable when nothing can be looked up or kept, TooManyRequests and ServiceStopping.
        """
        due = None if request.timeout_s is None else asyncio.get_running_loop().time() + request.timeout_s
        items = await prepared(request.samples, self.profile, use_tests=self._config.rlaif.use_tests)
        visit = RequestState(request, items, BillingContext(request.run, key))
        by_digest = visit.by_digest
        turns = self._reception.of(key.name if key else None)
        try:
            async with asyncio.timeout_at(due):
                place = await turns.take(request.run)
        except TimeoutError:
            return await self._answer(visit, dict.fromkeys(by_digest, ADMISSION_TIMEOUT))
        outcomes: dict[bytes, Outcome] = {}
        missing = list(by_digest)
        try:
            while True:
                flights, leading = self._flights.claim(missing)
                visit.flights |= flights
                visit.led += leading
                lead = self._start(visit, [by_digest[digest] for digest in leading])
                await until_done([lead], due)
                await until_done(flights.values(), due)
                if visit.answer:  # it is on its way into the book: too late to be late
                    await until_done(flights.values(), None)
                outcomes |= {
                    digest: flight.result() if flight.done() else DEADLINE_EXCEEDED
                    for digest, flight in flights.items()
                }
                if lead.done() and not lead.cancelled():
                    lead.result()
                # what another had no money for is asked for again, out of this purse
                missing = [digest for digest in flights if unpaid(outcomes[digest]) and digest not in leading]
                if not missing:
                    return await self._answer(visit, outcomes)
        finally:  # the place is free when both the request and its lead have ended
            lead.add_done_callback(lambda _: turns.leave(place))

    def _start(self, visit: RequestState, items: Sequence[PreparedSample]) -> asyncio.Task[None]:
        """A task of its own: neither a caller that goes away nor one whose time is up ends what others wait for."""
        lead = asyncio.create_task(self._score_missing(visit, items))
        self._leading.add(lead)
        lead.add_done_callback(lambda task: self._on_owner_done(task, [item.print.digest for item in items]))
        return lead

    async def _answer(self, visit: RequestState, outcomes: Mapping[bytes, Outcome]) -> ScoreResponse:
        counted = visit.answer is not None
        answer = visit.answer or self._build_response(visit, outcomes)
        self._tell(answer.line)
        if not counted:
            await self.ledger.add(answer.line, durable=bool(visit.payer.bills or answer.line.teacher))
        await self._note_given(visit, answer)
        return ScoreResponse(results=answer.results, usage=sum_usage(visit.payer.bills))

    async def _note_given(self, visit: RequestState, answer: ScoredRequest) -> None:
        """Where keys are for some runs only, they see the marks that these have paid for or were given."""
        if self._store.keys.any_for_some_runs:
            pairs = zip(visit.items, answer.results, strict=True)
            given = {item.print.row for item, result in pairs if result.source in (Source.CACHE, Source.COALESCED)}
            await self._store.given.add(given, visit.payer.run)

    def _build_response(self, visit: RequestState, outcomes: Mapping[bytes, Outcome]) -> ScoredRequest:
        results = list(build_results(visit.items, outcomes, visit.led, self.profile))
        baseline = 0 if self._teacher.is_stub else sum_baseline_tokens(visit.items, results, self.rubric)
        line = build_ledger_line(visit.request, visit.items, results, self._clock_ms(), baseline)
        visit.answer = ScoredRequest(results, line)
        return visit.answer

    def _ledger_line_if_complete(
        self, visit: RequestState, group: Sequence[PreparedSample], outcomes: Sequence[Outcome]
    ) -> RequestLine | None:
        """The line of the request, if nothing but these outcomes was missing: one transaction less than by itself."""
        now = dict(zip((item.print.digest for item in group), outcomes, strict=True))
        known = visit.landed() | now
        if visit.answer or len(known) < len(visit.flights) or any(map(unpaid, known.values())):
            return None
        return self._build_response(visit, known).line

    async def close(self, grace_s: float) -> None:
        """Take no new work and begin no call; those in progress finish, as they are paid for, and their marks are kept.

        Whoever has no call in progress is refused at once.
        """
        self._asker.stopped.set()
        self._teacher.stop()
        self._tier.stop()
        self._tests.stop()
        self._reception.stop()
        log.info("stopping: no call begins any more; requests in progress: %d", len(self._leading))
        if self._leading:
            _, late = await asyncio.wait(self._leading, timeout=grace_s)
            for lead in late:
                lead.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _score_missing(self, visit: RequestState, items: Sequence[PreparedSample]) -> None:
        """Land the flight of every item."""
        with span("store lookup", **{"markbook.samples": len(items)}):
            stored = await self._store.marks.get([item.print for item in items], self._clock_ms())
            items = await self._tests.recall(items)
        asking = self._resolve_known(items, stored)
        if not asking:
            return
        rejected: list[tuple[PreparedSample, HeuristicResult]] = []
        if self._config.rlaif.use_tiered_scoring:
            asking, rejected = await self._reject(asking, visit.payer.caller)
        asking = self._resolve_stored(await self._test(asking, visit.payer.caller), stored, Source.CACHE)
        groups = [self._ask(visit, group) for group in self._asker.groups(asking)]
        *asked, audited = await results_of_all([*groups, self._auditor.audit(visit.payer, rejected)])
        if isinstance(audited, BaseException):  # no mark depends on it
            log.error("rejected samples are not audited this time: %r", audited, exc_info=audited)
        raise_first(asked)

    async def _reject(
        self, items: Sequence[PreparedSample], caller: Caller
    ) -> tuple[list[PreparedSample], list[tuple[PreparedSample, HeuristicResult]]]:
        """Land what the heuristic tier rejects; returns what the teacher must see, and what was rejected."""
        with span("heuristic tier", **{"markbook.samples": len(items)}):
            judgements = await self._tier.judge([(item.code, item.prompt, item.language) for item in items], caller)
        passed: list[PreparedSample] = []
        rejected: list[tuple[PreparedSample, HeuristicResult]] = []
        for item, judgement in zip(items, judgements, strict=True):
            if judgement.score < self._config.rlaif.heuristic_score_threshold:
                self._resolve(item, SampleMark(Source.HEURISTIC, judgement.score, None, judgement.reasons))
                rejected.append((item, judgement))
            else:
                passed.append(item)
        return passed, rejected

    def _resolve_known(self, items: Sequence[PreparedSample], stored: Stored) -> list[PreparedSample]:
        """Land what needs neither teacher nor sandbox: marks in the store, and what known verdicts decide."""
        untested: list[PreparedSample] = []
        others: list[PreparedSample] = []
        for item in items:
            if item.tests and item.verdict is None:
                untested.append(item)
            elif not (item.tests and self._resolve_decided(item)):
                others.append(item)
        return [*self._resolve_stored(others, stored, Source.CACHE), *untested]

    async def _test(self, items: Sequence[PreparedSample], caller: Caller) -> list[PreparedSample]:
        """Run the tests that were not run yet, and land what they decide; returns what the teacher must see."""
        if with_tests := sum(bool(item.tests) for item in items):
            with span("tests", **{"markbook.samples": with_tests}):
                items, failed = await self._tests.run(items, caller, self._clock_ms())
            for item, failure in failed:
                self._resolve(item, failure)
        return [item for item in items if not self._resolve_decided(item)]

    def _resolve_decided(self, item: PreparedSample) -> bool:
        """Land what the tests decide, if they do."""
        decided = self._tests.decide(item)
        if decided is not None:
            self._resolve(item, decided)
        return decided is not None

    async def _ask(self, visit: RequestState, group: Sequence[PreparedSample]) -> None:
        """Land a group of what the teacher must see, asked by this replica or by another."""
        if not group:
            return
        try:
            outcomes = await self._asker.ask(visit.payer, group, partial(self._ledger_line_if_complete, visit, group))
        except ClaimConflict as found:
            asking = self._resolve_stored(group, found.marks, Source.COALESCED)
            mine = [item for item in asking if item.print.digest not in found.asked]
            theirs = [item for item in asking if item.print.digest in found.asked]
            await gather_all([self._ask(visit, mine), self._wait(visit, theirs)])
        else:
            for item, outcome in zip(group, outcomes, strict=True):
                self._resolve(item, outcome)

    async def _wait(self, visit: RequestState, items: Sequence[PreparedSample]) -> None:
        await self._ask(visit, await self._wait_for_others(items))

    async def _wait_for_others(self, items: Sequence[PreparedSample]) -> list[PreparedSample]:
        """Land what other replicas bring; returns, for another try, what is left once some of it is claimed no more."""
        waiting = list(items)
        free: frozenset[bytes] = frozenset()
        while waiting and not free:
            await asyncio.sleep(CLAIM_POLL_INTERVAL_S)
            if self._asker.stopped.is_set():
                raise stopping()
            stored = await self._store.marks.get([item.print for item in waiting], self._clock_ms())
            waiting = self._resolve_stored(waiting, stored, Source.COALESCED)
            seen = await self._store.claims.look([item.print.digest for item in waiting], self._clock_ms())
            failed = {digest: failure for digest, failure in seen.failures.items() if not unpaid(failure)}
            for item in waiting:
                if failure := failed.get(item.print.digest):
                    self._resolve(item, failure)
            waiting = [item for item in waiting if item.print.digest not in failed]
            free = seen.free | seen.failures.keys() - failed.keys()
        return waiting

    def _resolve_stored(self, items: Sequence[PreparedSample], stored: Stored, source: Source) -> list[PreparedSample]:
        """Land the items that have a mark in the book; returns the others."""
        missing: list[PreparedSample] = []
        for item in items:
            if mark := stored.get(item.print.digest):
                self._resolve(item, self._asker.mark(item, source, mark.criteria, mark.reasons))
            else:
                missing.append(item)
        return missing

    def _resolve(self, item: PreparedSample, outcome: Outcome) -> None:
        self._flights.land(item.print.digest, outcome)

    def _on_owner_done(self, lead: asyncio.Task[None], led: Sequence[bytes]) -> None:
        """Nobody waits for ever: when a lead ends early, its error goes to all who wait for its samples."""
        self._leading.discard(lead)
        error = ServiceStopping("the service stopped before the marks came") if lead.cancelled() else lead.exception()
        if error is not None:
            self._flights.crash(led, error)
