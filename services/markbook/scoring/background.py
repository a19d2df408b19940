"""Background maintenance of the store: last-used times every second, retention every minute."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store import Store

log = logging.getLogger("markbook")

NOTE_S = 1.0
"""Seconds between notes of which marks were used."""
SWEEP_EVERY = 60
"""Notes between sweeps."""


async def run_maintenance(store: Store, clock_ms: Callable[[], int]) -> None:
    """Write last uses, and apply retention, until cancelled; both for the first time after NOTE_S seconds.

    Also once at the start: bring the list of samples up to date.
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
                    await store.catch_up.run()
                    is_listed = True
        except StoreUnavailableError as error:
            log.debug("maintenance skipped, will retry: %s", error)


async def renew_leases(store: Store, clock_ms: Callable[[], int], lease_s: float) -> None:
    """Renew this replica's leases and clean up after replicas that died, until cancelled."""
    while True:
        await asyncio.sleep(lease_s / 3)
        try:
            await store.renew(clock_ms())
        except StoreUnavailableError as error:
            log.debug("claims not renewed, another replica may ask again: %s", error)
