"""The steps of a batch: each begins with what is stored and ends with one transaction, so that
it can be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from markbook.config.settings import TeacherConfig
from markbook.contract import ErrorCode, ScoreRequest, Source
from markbook.scoring.errors import TeacherError
from markbook.scoring.pipeline.batch_outcomes import (
    dump_outcome,
    end_batch,
    is_worth_another_batch,
    load_outcome,
)
from markbook.scoring.pipeline.batch_planner import (
    BatchPlanner,
    Items,
    custom_id_prefix,
    group_id,
    with_tests,
)
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample, new_mark
from markbook.scoring.pipeline.reject_writer import RejectWriter
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import (
    QUEUED,
    SENDING,
    NewMark,
    NewResult,
    RequestLine,
    SampleState,
    Store,
    StoredBatch,
    StoredRequest,
)
from markbook.scoring.teachers.batch_protocol import BatchApi, BatchNotSentError, BatchResult
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall

log = logging.getLogger("markbook")

SKEW_MS = 300_000
"""How far the provider's clock may be behind ours."""
_DAY_MS = 86_400_000
_LISTED_AT_ONCE = 1000
"""Fewer than a RejectWriter holds."""


@dataclass(frozen=True, slots=True)
class BatchWork:
    """What a batch was given: its request, its samples in order, and these by digest."""

    request: ScoreRequest
    samples: Sequence[PreparedSample]

    items: Items


def make_work(request: ScoreRequest, samples: Sequence[PreparedSample]) -> BatchWork:
    return BatchWork(request, samples, {item.print.digest: item for item in samples})


@dataclass(frozen=True, slots=True)
class BatchSteps:
    """`lease_s`: of a batch. `keeps_exchanges`: store.keep_exchanges is above 0. `on_call` is
    called with each bill, `on_counted` with the line of each ended batch.

    Every method may raise StoreUnavailableError and BatchTakenError.
    """

    config: TeacherConfig
    api: BatchApi
    planner: BatchPlanner
    scorer: GroupScorer
    store: Store
    rubric: Rubric
    lease_s: float
    keeps_exchanges: bool
    clock_ms: Callable[[], int]
    on_call: Callable[[TeacherCall], None]
    on_counted: Callable[[RequestLine], None]
    rejects: RejectWriter
    stopped: asyncio.Event

    async def advance(self, batch: StoredBatch, work: BatchWork) -> StoredBatch | None:
        """One step; returns the batch as it is then, or None: it has ended, or its lease was
        given back.
        """
        if batch.state == QUEUED:
            return await self._plan(batch, work)
        if batch.state == SENDING:
            return await (self._send(batch, work) if batch.send_ms is None else self._search(batch))
        return await self._collect(batch, work)

    async def _plan(self, batch: StoredBatch, work: BatchWork) -> StoredBatch | None:
        plan = await self.planner.plan(batch, work.items)
        if plan.planned:
            return plan.batch
        if (
            plan.open
        ):  # a call or another batch has asked for them: they will be stored, or free again
            return await self._leave(batch)
        return await self._finish(batch, work)

    async def _send(self, batch: StoredBatch, work: BatchWork) -> StoredBatch | None:
        requests = await self.store.batches.open_requests(batch.id, batch.round)
        built = [(each.id, self.planner.build(each, work.items)) for each in requests]
        began = time.monotonic()
        batch = await self.store.batches.begin_send(batch, self.clock_ms())
        if (
            time.monotonic() - began > self.lease_s
        ):  # this process was paused: another one may be searching by now
            return None
        try:
            provider_id = await self.api.send(built)
        except BatchNotSentError as error:
            batch = await self.store.batches.mark_unsent(batch, self.clock_ms())
            if error.is_final:
                return await self._refuse(batch, requests, error, work)
            return await self._leave(batch, error, error.retry_after_s or 0.0)
        except TeacherError as error:
            return await self._leave(batch, error)
        log.info("batch %s: %d requests sent as %s", batch.id, len(requests), provider_id)
        return await self.store.batches.mark_sent(batch, provider_id, self.clock_ms())

    async def _search(self, batch: StoredBatch) -> StoredBatch | None:
        """Find out whether an interrupted round was sent; it is sent again only once it certainly
        was not.

        A process may still be sending for `batch_send_timeout_s` after its lease, and the provider
        take as long again.
        """
        assert batch.send_ms is not None
        known = await self.store.batches.provider_ids()
        prefix = custom_id_prefix(batch, batch.round)
        settled_ms = batch.send_ms + (self.lease_s + 2 * self.config.batch_send_timeout_s) * 1000
        is_settled = self.store.batches.now(self.clock_ms()) > settled_ms  # before the list is read
        try:
            found = await self.api.find(prefix, batch.requests, batch.send_ms - SKEW_MS, known)
        except TeacherError as error:
            return await self._leave(batch, error)
        if found.id is not None:
            log.info("batch %s: found at the provider as %s", batch.id, found.id)
            return await self.store.batches.mark_sent(batch, found.id, self.clock_ms())
        if found.is_certain and is_settled:
            log.info("batch %s: not found at the provider, sent again", batch.id)
            return await self.store.batches.mark_unsent(batch, self.clock_ms())
        return await self._leave(batch)

    async def _collect(self, batch: StoredBatch, work: BatchWork) -> StoredBatch | None:
        assert batch.provider_id is not None
        assert batch.send_ms is not None
        age_ms = self.store.batches.now(self.clock_ms()) - batch.send_ms
        is_lost = age_ms > self.api.result_days * _DAY_MS
        missing = {
            each.id: each for each in await self.store.batches.open_requests(batch.id, batch.round)
        }
        known = await self.store.batches.samples(batch.id)
        if not is_lost:
            try:
                if not await self.api.has_ended(batch.provider_id):
                    return await self._leave(batch)
                await self._read_results(batch, missing, work, known)
            except TeacherError as error:
                return await self._leave(batch, error)
            if self.stopped.is_set():
                return batch
            if missing:
                log.warning(
                    "batch %s: %d results are missing, read again later", batch.id, len(missing)
                )
                return await self._leave(batch)
        for request in missing.values():
            await self._record(
                batch, request, self.api.lost(len(request.digests), request.bound), work, known
            )
        return await self.store.batches.requeue(batch, self.clock_ms())

    async def _read_results(
        self,
        batch: StoredBatch,
        missing: dict[str, StoredRequest],
        work: BatchWork,
        known: Mapping[bytes, SampleState],
    ) -> None:
        """Record results until all are read or the service stops; those that came are taken out
        of `missing`.
        """
        assert batch.provider_id is not None
        async with aclosing(self.api.results(batch.provider_id)) as results:
            async for name, result in results:
                if self.stopped.is_set():
                    return
                if (request := missing.get(name)) is not None:
                    sent = (
                        self.planner.build(request, work.items).params
                        if self.keeps_exchanges
                        else None
                    )
                    brought = self.api.read(result, len(request.digests), request.bound, sent)
                    await self._record(batch, request, brought, work, known)
                    del missing[name]

    async def _record(
        self,
        batch: StoredBatch,
        request: StoredRequest,
        brought: BatchResult,
        work: BatchWork,
        known: Mapping[bytes, SampleState],
    ) -> None:
        """Store what a request brought. What is worth another batch stays open, and claimed."""
        states: dict[bytes, SampleState] = {}
        marked: list[NewMark] = []
        for digest, outcome in zip(request.digests, brought.outcomes, strict=True):
            state = known.get(digest, SampleState())
            item = with_tests(work.items[digest], state)
            if isinstance(outcome, Judgment):
                mark = self.scorer.mark(item, Source.TEACHER, outcome.criteria, outcome.reasons)
                states[digest] = replace(state, outcome=dump_outcome(mark))
                marked.append(new_mark(item, outcome))
            elif state.attempts < self.config.batch_attempts and is_worth_another_batch(
                outcome, len(request.digests)
            ):
                states[digest] = replace(state, failure=dump_outcome(outcome))
            else:
                states[digest] = replace(state, outcome=dump_outcome(outcome))
        result = NewResult(request, group_id(request.digests), marked, states, brought.call)
        await self.store.batches.record(batch, result, self.clock_ms())
        self.on_call(brought.call)

    async def _refuse(
        self,
        batch: StoredBatch,
        requests: Sequence[StoredRequest],
        error: TeacherError,
        work: BatchWork,
    ) -> StoredBatch:
        """The provider refuses the batch as a whole: its samples have no mark, and nothing is
        billed.
        """
        known = await self.store.batches.samples(batch.id)
        failure = ScoringFailure(ErrorCode.TEACHER_REJECTED, error.detail)
        for request in requests:
            call = TeacherCall(request.bound.model, "rejected", failed=True)
            brought = BatchResult((failure,) * len(request.digests), call)
            await self._record(batch, request, brought, work, known)
        return await self.store.batches.requeue(batch, self.clock_ms())

    async def _finish(self, batch: StoredBatch, work: BatchWork) -> StoredBatch | None:
        known = await self.store.batches.samples(batch.id)
        outcomes = {
            digest: load_outcome(state.outcome)
            for digest, state in known.items()
            if state.outcome is not None
        }
        bills = [call for _, call in await self.store.batches.bills(batch.id)]
        at_ms = self.clock_ms()
        ended = end_batch(batch.id, work.request, work.samples, outcomes, bills, self.rubric, at_ms)
        if (
            self.store.keys.any_for_some_runs
        ):  # keys for some runs see the marks that their runs were given
            pairs = zip(work.samples, ended.results, strict=True)
            given = {
                item.print.row
                for item, result in pairs
                if result.source in (Source.CACHE, Source.COALESCED)
            }
            await self.store.given.add(given, batch.run)
        for start in range(0, len(work.samples), _LISTED_AT_ONCE):
            part = slice(start, start + _LISTED_AT_ONCE)
            self.rejects.add(work.samples[part], ended.results[part], batch.run)
            await self.rejects.flush()
        await self.store.batches.finish(batch, ended.response(), ended.line, at_ms)
        self.on_counted(ended.line)
        log.info("batch %s: ended, %d samples", batch.id, len(work.samples))
        return None

    async def _leave(
        self, batch: StoredBatch, error: TeacherError | None = None, wait_s: float = 0.0
    ) -> StoredBatch | None:
        """Give the lease back for `batch_poll_s`, or for `wait_s` where that is longer.

        Returns None.
        """
        if error is not None:
            log.warning("batch %s: %s; tried again later", batch.id, error.detail)
        wait_ms = round(max(self.config.batch_poll_s, wait_s) * 1000)
        await self.store.batches.release(batch.id, wait_ms, self.clock_ms())
        return None
