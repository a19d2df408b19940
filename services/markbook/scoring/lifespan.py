"""FastAPI's lifespan: the background tasks (maintenance, leases, alerts, batches), and the order
of shutdown.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from markbook.scoring.api.dependencies import AppState
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.pipeline.components import Tiers
from markbook.scoring.store import Store

log = logging.getLogger("markbook")

NOTE_S = 1.0
"""Seconds between notes of which marks were used."""
SWEEP_EVERY = 60
"""Notes between sweeps."""


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Check = Callable[[int], Awaitable[None]]
"""Looks at what is stored, at a time in Unix milliseconds."""


async def run_maintenance(
    store: Store, clock_ms: Callable[[], int], checks: Sequence[Check] = ()
) -> None:
    """Write last uses, apply retention and run `checks`, until cancelled; all for the first time
    after NOTE_S seconds.

    `checks` run as often as retention, SWEEP_EVERY. Also once at the start: bring the list of
    samples up to date.
    """
    is_listed = False
    for turn in itertools.count():
        await asyncio.sleep(NOTE_S)
        try:
            await store.marks.flush_last_used(clock_ms())
            if turn % SWEEP_EVERY == 0:
                await store.maintenance.run_once(clock_ms())
                store.given.forget()
                if not is_listed:
                    await store.backfill.run()
                    is_listed = True
                for check in checks:
                    await check(clock_ms())
                await store.keys.flush_last_used()
        except StoreUnavailableError as error:
            log.debug("maintenance skipped, will retry: %s", error)


async def renew_leases(store: Store, clock_ms: Callable[[], int], lease_s: float) -> None:
    """Renew this replica's leases and clean up after replicas that died, until cancelled."""
    while True:
        await asyncio.sleep(lease_s / 3)
        try:
            await store.renew(clock_ms())
        except StoreUnavailableError as error:
            log.debug("claims not renewed, another replica may request these marks too: %s", error)


def lifespan(tiers: Tiers) -> Lifespan:
    """What FastAPI runs around serving: the background tasks, and the end of everything in its
    order.
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        state = app.state.markbook
        assert isinstance(state, AppState)
        log.info("teacher: %s", state.teacher.description)
        log.info("database: %s, profile %s", state.store.where, state.pipeline.profile)
        tasks = _start_tasks(state)
        try:
            yield
        finally:
            # an interrupted `markbook judge` ends here as well: its calls in progress are paid for
            for task in tasks:
                task.cancel()
            await _stop(state, tiers)

    return running


def _start_tasks(state: AppState) -> list[asyncio.Task[None]]:
    store, clock_ms = state.store, state.clock_ms
    leases = renew_leases(store, clock_ms, state.config.store.claim_lease_s)
    checks = [state.agreement.check, _forget_rejects(state)]
    tasks = [
        asyncio.create_task(leases, name="renewal of claims"),
        asyncio.create_task(run_maintenance(store, clock_ms, checks), name="maintenance"),
        asyncio.create_task(state.alerts.run(), name="alerts"),
        asyncio.create_task(state.batches.run(), name="batches"),
    ]
    for task in tasks:
        task.add_done_callback(_log_death)
    return tasks


def _forget_rejects(state: AppState) -> Check:
    async def forget(_: int) -> None:
        state.pipeline.responses.rejects.forget()

    return forget


async def _stop(state: AppState, tiers: Tiers) -> None:
    grace_s = state.config.service.shutdown_grace_s
    await asyncio.gather(state.batches.close(grace_s), state.pipeline.close(grace_s))
    await state.pipeline.ledger.close()
    await state.pipeline.responses.rejects.close()
    await tiers.heuristics.close()
    await asyncio.to_thread(tiers.tests.close)
    await state.teacher.close()
    await state.alerts.close()
    await state.store.close()


def _log_death(task: asyncio.Task[None]) -> None:
    """These tasks are never awaited: log it if one dies."""
    if not task.cancelled() and (error := task.exception()):
        log.critical(
            "background task %s died, restart the service: %s",
            task.get_name(),
            error,
            exc_info=error,
        )
