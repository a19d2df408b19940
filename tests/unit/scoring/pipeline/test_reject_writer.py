"""Which rejected samples are written to the list: once, and again after they may have been
deleted.
"""

from __future__ import annotations

import asyncio

from markbook.scoring import lifespan
from markbook.scoring.pipeline.reject_writer import RejectWriter
from tests.unit.scoring.dashboard.test_samples_page import links, page, score
from tests.unit.scoring.pipeline.test_tests_tier import BROKEN, sample

OTHER = "def mul(a, b:\n    return a * b\n"


async def test_a_reject_that_was_deleted_is_listed_again_once_the_writer_has_forgotten(
    service, clock, database_url
):
    async with service({"store": {"keep_rejects": 1}}, database_url=database_url) as http:
        state = http._transport.app.state.markbook
        for code in (BROKEN, OTHER):
            await score(http, sample(code))
            await page(http, "/samples")  # writes it
        await state.store.maintenance.run_once(clock())
        await score(http, sample(BROKEN))
        [kept] = links(await page(http, "/samples?by=none"))  # it costs no write for each request
        state.pipeline.responses.rejects.forget()
        await score(http, sample(BROKEN))
        found = links(await page(http, "/samples?by=none"))
    assert len(found) == 2
    assert kept in found


async def test_what_is_already_listed_stays_one_when_the_writer_has_forgotten(
    service, database_url
):
    async with service(database_url=database_url) as http:
        for _ in range(2):
            await score(http, sample(BROKEN))
            await page(http, "/samples")
            http._transport.app.state.markbook.pipeline.responses.rejects.forget()
        assert len(links(await page(http, "/samples?by=none"))) == 1


async def test_the_writer_forgets_with_every_sweep_of_the_store(service, monkeypatch):
    forgotten = asyncio.Event()
    forget = RejectWriter.forget

    def noted(self: RejectWriter) -> None:
        forget(self)
        forgotten.set()

    monkeypatch.setattr(RejectWriter, "forget", noted)
    monkeypatch.setattr(lifespan, "NOTE_S", 0.0)
    async with service():
        await asyncio.wait_for(forgotten.wait(), 60)
