"""Batches of samples: stored at once, then moved on step by step by whichever replica holds the
batch's lease.

    queued   plan: free tiers, claims, requests and reservations are stored; nothing left to ask:
    ended sending  the requests are sent; if a process died while it sent them, they are searched
    for at the provider first sent     the provider is asked every teacher.batch_poll_s; each result
    is stored and booked; then queued again

A process may be killed between any two lines: the next one to get the lease finds the state of the
last transaction.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from markbook.config.settings import Config
from markbook.contract import Batch, BatchState, ScoreRequest
from markbook.scoring.errors import BadRequestError, ServiceStoppingError, StoreUnavailableError
from markbook.scoring.fingerprint import hash_profile
from markbook.scoring.pipeline.batch_outcomes import load_response
from markbook.scoring.pipeline.batch_planner import BatchPlanner
from markbook.scoring.pipeline.batch_steps import BatchSteps, make_work
from markbook.scoring.pipeline.components import Tiers
from markbook.scoring.pipeline.free_tiers import TESTED_AT_ONCE, FreeTiers
from markbook.scoring.pipeline.group_scorer import GroupScorer
from markbook.scoring.pipeline.preparation import prepare_samples
from markbook.scoring.pipeline.profile_inputs import mark_identity
from markbook.scoring.pipeline.reject_writer import RejectWriter
from markbook.scoring.pipeline.results import line_id
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import (
    ENDED,
    QUEUED,
    ApiKey,
    BatchTakenError,
    RequestLine,
    Store,
    StoredBatch,
    Viewer,
)
from markbook.scoring.teachers.protocol import Teacher
from markbook.scoring.types import TeacherCall

log = logging.getLogger("markbook")

MAX_AT_ONCE = 4
"""Batches that one process works on at the same time."""
LOOK_S = 1.0
"""Seconds between looks for batches that are due; new ones of this process are begun at once."""


@dataclass(frozen=True, slots=True)
class BatchRecorders:
    """`billed` is called with each call's bill, `counted` with the line of each batch that ended.
    `rejects` lists the samples that a tier decided.
    """

    billed: Callable[[TeacherCall], None]
    counted: Callable[[RequestLine], None]
    rejects: RejectWriter


class BatchService:
    """Takes batches, and works on those of all replicas that have the same profile."""

    def __init__(
        self,
        config: Config,
        teacher: Teacher,
        store: Store,
        tiers: Tiers,
        rubric: Rubric,
        clock_ms: Callable[[], int],
        recorders: BatchRecorders,
    ) -> None:
        self._use_tests = config.rlaif.use_tests
        self._look_s = min(LOOK_S, config.teacher.batch_poll_s)
        self._teacher = teacher
        self._store = store
        self._profile = hash_profile(mark_identity(config, teacher, rubric))
        self._clock_ms = clock_ms
        self._stopped = asyncio.Event()
        self._wake = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()
        self._steps: BatchSteps | None = None
        if (api := teacher.batches()) is not None:
            scorer = GroupScorer(config, teacher, store, rubric, clock_ms)
            free = FreeTiers(config, store, tiers, scorer, clock_ms, tested_at_once=TESTED_AT_ONCE)
            planner = BatchPlanner(config, api, store, free, scorer, clock_ms)
            self._steps = BatchSteps(
                config=config.teacher,
                api=api,
                planner=planner,
                scorer=scorer,
                store=store,
                rubric=rubric,
                lease_s=config.store.claim_lease_s,
                keeps_exchanges=config.store.keep_exchanges > 0,
                clock_ms=clock_ms,
                on_call=recorders.billed,
                on_counted=recorders.counted,
                rejects=recorders.rejects,
                stopped=self._stopped,
            )

    async def submit(self, request: ScoreRequest, key: ApiKey | None) -> Batch:
        """Store a batch; one that was sent before with the same `request_id` and samples is that
        batch.

        Raises BadRequestError where the teacher cannot be asked in batches.
        """
        if self._steps is None:
            raise BadRequestError(
                f"{self._teacher.description}: it has no batches, which only the provider's own "
                "API has (see teacher.base_url_has_batches); send the request without batch",
                field="batch",
            )
        if not self._use_tests:
            samples = [
                sample.model_copy(update={"tests": [], "test_setup": ""})
                for sample in request.samples
            ]
            request = request.model_copy(update={"samples": samples})
        items = await prepare_samples(request.samples, self._profile, use_tests=True)
        name = line_id(request, items)
        body = await asyncio.to_thread(lambda: zlib.compress(request.model_dump_json().encode()))
        await self._store.batches.add(
            name,
            request.run,
            key.name if key else None,
            self._profile,
            len(items),
            body,
            self._clock_ms(),
        )
        self._wake.set()
        stored = await self.get(Viewer(key), name)
        assert stored is not None
        return stored

    async def get(self, viewer: Viewer, batch: str) -> Batch | None:
        """None where there is no such batch that the viewer may see."""
        stored = await self._store.batches.get(viewer, batch)
        return None if stored is None else await asyncio.to_thread(_to_wire, stored)

    async def run(self) -> None:
        """Work on batches that are due until `close`.

        Returns at once where the teacher has no batches.
        """
        while self._steps is not None and not self._stopped.is_set():
            self._wake.clear()
            try:
                while len(self._working) < MAX_AT_ONCE:
                    batch = await self._store.batches.acquire(self._profile, self._clock_ms())
                    if batch is None:
                        break
                    self._start(self._steps, batch)
            except StoreUnavailableError as error:
                log.debug("no batch begun, will retry: %s", error)
            try:
                async with asyncio.timeout(self._look_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def close(self, grace_s: float) -> None:
        """Begin no further step; those in progress have `grace_s` to end.

        What is left is continued after a start.
        """
        self._stopped.set()
        self._wake.set()
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _start(self, steps: BatchSteps, batch: StoredBatch) -> None:
        task = asyncio.create_task(self._work(steps, batch))
        self._working.add(task)
        task.add_done_callback(partial(self._on_done, batch.id))

    def _on_done(self, batch: str, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._store.batches.untrack(batch)
        self._wake.set()
        if not task.cancelled() and (
            error := task.exception()
        ):  # tried again once its lease has ended
            log.error("batch %s: internal error, tried again: %r", batch, error, exc_info=error)

    async def _work(self, steps: BatchSteps, batch: StoredBatch) -> None:
        """Move a batch on until it has to wait."""
        assert batch.body is not None
        try:
            request = ScoreRequest.model_validate_json(zlib.decompress(batch.body))
            samples = await prepare_samples(request.samples, self._profile, use_tests=True)
            work = make_work(request, samples)
            now: StoredBatch | None = batch
            while now is not None and not self._stopped.is_set():
                now = await steps.advance(now, work)
            if now is not None:
                await self._store.batches.release(now.id, 0, self._clock_ms())
        except (BatchTakenError, StoreUnavailableError, ServiceStoppingError) as error:
            log.warning("batch %s: left for now: %s", batch.id, error)


def _to_wire(batch: StoredBatch) -> Batch:
    state = {QUEUED: BatchState.QUEUED, ENDED: BatchState.ENDED}.get(
        batch.state, BatchState.IN_PROGRESS
    )
    response = None if batch.response is None else load_response(batch.response)
    return Batch(
        id=batch.id,
        run=batch.run,
        state=state,
        samples=batch.samples,
        created_at=datetime.fromtimestamp(batch.created_ms / 1000, UTC),
        ended_at=None
        if batch.ended_ms is None
        else datetime.fromtimestamp(batch.ended_ms / 1000, UTC),
        results=None if response is None else response.results,
        usage=None if response is None else response.usage,
    )
