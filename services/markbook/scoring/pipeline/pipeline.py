"""One sample's way through the service, top to bottom.

    extract -> fingerprint -> claim here -> store          -- hit ----> cache      (free_tiers.py,
                                         as for batches) -> heuristic tier -- reject -> heuristic ->
                                         tests          -- fail ---> tests -> requests of one
                                         sample: wait for others of the task (gathering.py) -> claim
                                         in store -> teacher -> teacher, stored before anyone sees
                                         it
    claimed by another request or replica -> wait          -----------> its result (coalesced)

Every sample is counted once: sources and failures add up to the number of samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import Any

from markbook.config.settings import Config
from markbook.contract import ScoreRequest, ScoreResponse, Source
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.concurrency import gather_all, until_done
from markbook.scoring.errors import ServiceStoppingError, stopping
from markbook.scoring.fingerprint import hash_profile
from markbook.scoring.pipeline.admission import AdmissionController
from markbook.scoring.pipeline.audits import Auditors
from markbook.scoring.pipeline.components import Recorders, Tiers
from markbook.scoring.pipeline.free_tiers import FreeTiers, Stored
from markbook.scoring.pipeline.gathering import Entry, GroupGatherer
from markbook.scoring.pipeline.group_scorer import GroupScorer, Outcome, PreparedSample
from markbook.scoring.pipeline.ledger_writer import LedgerWriter
from markbook.scoring.pipeline.preparation import prepare_samples
from markbook.scoring.pipeline.profile_inputs import mark_identity
from markbook.scoring.pipeline.request_state import (
    ADMISSION_TIMEOUT,
    DEADLINE_EXCEEDED,
    RequestState,
    is_over_budget,
)
from markbook.scoring.pipeline.response_writer import ResponseWriter
from markbook.scoring.pipeline.single_flight import SingleFlight
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import ApiKey, ClaimConflictError, Store
from markbook.scoring.teachers.protocol import Teacher

log = logging.getLogger("markbook")
Work = Coroutine[Any, Any, None]

CLAIM_POLL_INTERVAL_S = 0.1
"""Seconds between polls of another replica's claims: short beside a teacher call, cheap for the
database.
"""


class Pipeline:
    """Scores samples. `clock_ms` returns Unix milliseconds."""

    def __init__(
        self,
        config: Config,
        teacher: Teacher,
        store: Store,
        tiers: Tiers,
        rubric: Rubric,
        clock_ms: Callable[[], int],
        recorders: Recorders,
    ) -> None:
        self._config = config
        self._teacher = teacher
        self._store = store
        self._tier = tiers.heuristics
        self._tests = tiers.tests
        self.rubric = rubric
        self.scorer = GroupScorer(config, teacher, store, rubric, clock_ms)
        self._free_tiers = FreeTiers(config, store, tiers, self.scorer, clock_ms)
        self._auditors = Auditors(config, self.scorer, store, rubric, clock_ms)
        self._clock_ms = clock_ms
        self.identity = mark_identity(config, teacher, rubric)
        self.profile = hash_profile(self.identity)
        self.ledger = LedgerWriter(store)
        counted, is_paid = recorders.request_counted, not teacher.is_stub
        self.responses = ResponseWriter(
            store, self.ledger, rubric, self.profile, clock_ms, counted, count_baseline=is_paid
        )
        limits = config.service
        self._admission = AdmissionController(
            limits.max_concurrent_requests, limits.max_queued_requests
        )
        self._in_flight: SingleFlight[bytes, Outcome] = SingleFlight()
        self._owners: set[asyncio.Task[None]] = set()
        window_s = (
            0.0 if teacher.is_stub else config.teacher.gather_ms / 1000
        )  # a stub's calls cost nothing
        self._gatherer = GroupGatherer(
            window_s, config.teacher.max_group_size, self._ask_gathered, recorders.gathered
        )

    def check_rate(self, key: ApiKey | None, samples: int) -> None:
        """For samples that are not in a `score` request.

        Raises TooManyRequestsError over the key's rate limits.
        """
        self._admission.check_rate(key, samples)

    async def score(self, request: ScoreRequest, key: ApiKey | None = None) -> ScoreResponse:
        """Results in the order of the samples.

        What has none at the request's deadline is left unscored.

        Raises StoreUnavailableError when the store can be neither read nor written,
        TooManyRequestsError and ServiceStoppingError.
        """
        deadline = (
            None
            if request.timeout_s is None
            else asyncio.get_running_loop().time() + request.timeout_s
        )
        items = await prepare_samples(
            request.samples, self.profile, use_tests=self._config.rlaif.use_tests
        )
        state = RequestState(request, items, BillingContext(request.run, key), deadline)
        slots = self._admission.slots_for(key, len(request.samples))
        try:
            async with asyncio.timeout_at(deadline):
                admitted_at = await slots.acquire(request.run)
        except TimeoutError:
            return await self.responses.respond(
                state, dict.fromkeys(state.by_digest, ADMISSION_TIMEOUT)
            )
        try:
            outcomes = await self._outcomes(state, deadline)
            return await self.responses.respond(state, outcomes)
        finally:
            # The slot is free once the request and its last owner task have both ended.
            if state.owner is None:
                slots.release(admitted_at)
            else:
                state.owner.add_done_callback(lambda _: slots.release(admitted_at))

    async def _outcomes(self, state: RequestState, deadline: float | None) -> dict[bytes, Outcome]:
        """The outcome of every sample by its digest; DEADLINE_EXCEEDED for those that have none
        in time.
        """
        by_digest = state.by_digest
        outcomes: dict[bytes, Outcome] = {}
        missing = list(by_digest)
        while missing:
            futures, owned = self._in_flight.claim(missing)
            state.futures |= futures
            state.owned += owned
            items = [by_digest[digest] for digest in owned]
            state.owner = self._start(self._score_missing(state, items), items)
            await until_done([state.owner], deadline)
            await until_done(futures.values(), deadline)
            if (
                state.response
            ):  # its ledger line is being written already: it can no longer be cut short
                await until_done(futures.values(), None)
            for digest, future in futures.items():
                outcomes[digest] = future.result() if future.done() else DEADLINE_EXCEEDED
            if state.owner.done() and not state.owner.cancelled():
                state.owner.result()  # raises what it failed with
            # What another request's budget could not pay for is tried again with this request's.
            missing = [
                digest
                for digest in futures
                if is_over_budget(outcomes[digest]) and digest not in owned
            ]
        return outcomes

    def _start(
        self, work: Work, items: Sequence[PreparedSample], context: Context | None = None
    ) -> asyncio.Task[None]:
        """Score `items` in a task of its own: others may wait for them after this request's
        client or time has gone.
        """
        digests = [item.print.digest for item in items]
        owner = asyncio.create_task(work, context=context)
        self._owners.add(owner)
        owner.add_done_callback(lambda task: self._on_owner_done(task, digests))
        return owner

    async def close(self, grace_s: float) -> None:
        """Accept no request and start no teacher call; calls in progress have `grace_s` to finish
        and be stored.

        Requests without a call in progress are refused at once.
        """
        self.scorer.stopped.set()
        self._gatherer.stop()
        self._teacher.stop()
        self._tier.stop()
        self._tests.stop()
        self._admission.stop()
        log.info(
            "stopping: no teacher call is started any more; samples in progress: %d",
            len(self._in_flight),
        )
        if self._owners:
            _, late = await asyncio.wait(self._owners, timeout=grace_s)
            for owner in late:
                owner.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _score_missing(self, state: RequestState, items: Sequence[PreparedSample]) -> None:
        """Resolve every item, by the cheapest tier that can."""
        owned = items
        with self._gatherer.expect(state, items) as entry:
            free = await self._free_tiers.resolve(items, state.billing.caller, self._resolve)
            items = free.left
            if entry and items:
                await self._gatherer.wait(entry, items[0])
        work = self._auditors.start(state, owned, free.rejected)
        if entry and items:
            work.append(until_done([state.futures[item.print.digest] for item in items], None))
        else:
            work += [self._ask_teacher([state], group) for group in self.scorer.groups(items)]
        await gather_all(work)

    def _ask_gathered(self, entries: Sequence[Entry]) -> None:
        items = [entry.item for entry in entries]
        self._start(
            self._ask_teacher([entry.state for entry in entries], items), items, entries[0].context
        )

    async def _ask_teacher(
        self, states: Sequence[RequestState], group: Sequence[PreparedSample]
    ) -> None:
        """Resolve a group by asking the teacher, or by waiting for the replica that has claimed it.

        `states`: the samples' requests, all of one run and API key. The first has the call in its
        usage.
        """
        if not group:
            return
        states = [state for state in states if state.owns_any(group)]
        completed_lines = partial(self.responses.completed_lines, states, group)
        try:
            outcomes = await self.scorer.ask(states[0].billing, group, completed_lines)
        except ClaimConflictError as conflict:
            rest = self._resolve_stored(group, conflict.marks, Source.COALESCED)
            unclaimed = [item for item in rest if item.print.digest not in conflict.asked]
            claimed = [item for item in rest if item.print.digest in conflict.asked]
            await gather_all(
                [self._ask_teacher(states, unclaimed), self._wait_for_replicas(states, claimed)]
            )
        else:
            for item, outcome in zip(group, outcomes, strict=True):
                self._resolve(item, outcome)

    async def _wait_for_replicas(
        self, states: Sequence[RequestState], items: Sequence[PreparedSample]
    ) -> None:
        """Resolve what other replicas store; ask for what is left once one of them is no longer
        claimed.
        """
        waiting = list(items)
        free: frozenset[bytes] = frozenset()
        while waiting and not free:
            await asyncio.sleep(CLAIM_POLL_INTERVAL_S)
            if self.scorer.stopped.is_set():
                raise stopping()
            stored = await self._store.marks.get([item.print for item in waiting], self._clock_ms())
            waiting = self._resolve_stored(waiting, stored, Source.COALESCED)
            seen = await self._store.claims.poll(
                [item.print.digest for item in waiting], self._clock_ms()
            )
            # A budget exhausted there does not imply that this request's is.
            failed = {
                digest: failure
                for digest, failure in seen.failures.items()
                if not is_over_budget(failure)
            }
            for item in waiting:
                if failure := failed.get(item.print.digest):
                    self._resolve(item, failure)
            waiting = [item for item in waiting if item.print.digest not in failed]
            free = seen.free | seen.failures.keys() - failed.keys()
        await self._ask_teacher(states, waiting)

    def _resolve_stored(
        self, items: Sequence[PreparedSample], stored: Stored, source: Source
    ) -> list[PreparedSample]:
        """Resolve the items that have a stored mark; returns the others."""
        missing: list[PreparedSample] = []
        for item in items:
            if mark := stored.get(item.print.digest):
                self._resolve(item, self.scorer.mark(item, source, mark.criteria, mark.reasons))
            else:
                missing.append(item)
        return missing

    def _resolve(self, item: PreparedSample, outcome: Outcome) -> None:
        self._in_flight.resolve(item.print.digest, outcome)

    def _on_owner_done(self, owner: asyncio.Task[None], digests: Sequence[bytes]) -> None:
        """An owner that ends early passes its error to all who wait for its samples, or they
        would wait for ever.
        """
        self._owners.discard(owner)
        error = (
            ServiceStoppingError("the service stopped before the marks came")
            if owner.cancelled()
            else owner.exception()
        )
        if error is not None:
            self._in_flight.fail(digests, error)
