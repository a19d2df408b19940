"""Batches that are interrupted: while they are sent, by outages, by other configurations, by
time.
"""

from __future__ import annotations

import httpx
import pytest

from markbook.scoring.app import unix_ms
from markbook.scoring.pipeline import batch_steps
from markbook.scoring.teachers.anthropic.message_batches import MessageBatches
from tests.emulator import faults
from tests.integration.batching import billed, counted, replica, samples
from tests.unit.scoring.book import count

HEADERS = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}
DAY_MS = 86_400_000
QUICK = {"batch_send_timeout_s": 0.1}
"""So that a batch that was certainly not sent is sent again after 2.2 seconds."""


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")


def batches_of(emulator):
    return [len(held.requests) for held in emulator.batches.all()]


async def test_a_batch_whose_confirmation_was_lost_is_found_and_not_sent_again(
    database_url, emulator
):
    emulator.settings.faults = faults.script("reset_after")
    async with replica(database_url, emulator) as service:
        batch = await service.ended(await service.submit(samples(3, 4)))
    assert batches_of(emulator) == [3]
    assert counted(batch["usage"]) == billed(emulator)


@pytest.mark.parametrize("kind", ["reset_before", "overloaded", "api_error"])
async def test_a_batch_that_never_arrived_is_sent_again(kind, sqlite_url, emulator):
    emulator.settings.faults = faults.script(kind)
    async with replica(sqlite_url, emulator, teacher=QUICK) as service:
        batch = await service.ended(await service.submit(samples(3, 4)))
    assert batches_of(emulator) == [3]
    assert all(each["status"] == "scored" for each in batch["results"])


async def test_it_is_not_sent_again_before_the_provider_must_have_it(
    sqlite_url, emulator, monkeypatch
):
    searches, find = [], MessageBatches.find

    async def counting(self, *asked):
        searches.append(asked)
        return await find(self, *asked)

    monkeypatch.setattr(MessageBatches, "find", counting)
    emulator.settings.faults = faults.script("reset_before")
    async with replica(sqlite_url, emulator, teacher={"batch_send_timeout_s": 3600.0}) as service:
        batch = await service.submit(samples(3, 4))
        await service.until_stored(batch, lambda _: len(searches) >= 3)
        assert (await service.stored(batch)).state == "sending"
    assert batches_of(emulator) == []


async def test_a_refusal_for_now_needs_no_search(sqlite_url, emulator):
    emulator.settings.faults = faults.script("rate_limit", "rate_limit")
    async with replica(sqlite_url, emulator, teacher={"batch_send_timeout_s": 3600.0}) as service:
        await service.ended(await service.submit(samples(1, 2)))
    assert batches_of(emulator) == [1]


@pytest.mark.parametrize("kind", ["bad_key", "spend_limit", "billing"])
async def test_a_refusal_for_good_leaves_the_samples_unscored_and_costs_nothing(
    kind, sqlite_url, emulator
):
    emulator.settings.faults = faults.script(kind)
    async with replica(sqlite_url, emulator) as service:
        batch = await service.ended(await service.submit(samples(1, 2)))
        assert await service.spent() == (0.0, 0)
        assert (
            await count(service.store, "claims") == await count(service.store, "reservations") == 0
        )
    assert [each["error"]["code"] for each in batch["results"]] == ["teacher_rejected"] * 2


async def test_another_batch_of_the_same_size_is_told_apart_by_its_ids(sqlite_url, emulator):
    """It is in progress, so its ids cannot be seen: nothing is sent until they can."""
    emulator.settings.batch_s = 3600.0
    foreign = {"requests": [{"custom_id": f"other-{number}", "params": {}} for number in range(3)]}
    async with httpx.AsyncClient() as http:
        (
            await http.post(f"{emulator.url}/v1/messages/batches", json=foreign, headers=HEADERS)
        ).raise_for_status()
    emulator.settings.faults = faults.script("reset_before")
    async with replica(
        sqlite_url, emulator, teacher=QUICK, store={"claim_lease_s": 0.5}
    ) as service:
        batch = await service.submit(samples(3, 4))
        row = await service.until_stored(batch, lambda row: row.send_ms is not None)
        await service.until_stored(batch, lambda _: unix_ms() > row.send_ms + 1500)
        assert (await service.stored(batch)).send_ms == row.send_ms
        assert batches_of(emulator) == [3]
        emulator.batches.finish()
        emulator.settings.batch_s = 0.0
        ended = await service.ended(batch)
    assert batches_of(emulator) == [3, 3]
    assert all(each["status"] == "scored" for each in ended["results"])


async def test_a_batch_outlives_its_service(database_url, emulator):
    emulator.settings.batch_s = 3600.0
    async with replica(database_url, emulator) as service:
        batch = await service.submit(samples(2, 4))
        await service.until_stored(batch, lambda row: row.state == "sent")
    async with replica(database_url, emulator, teacher={"model": "claude-sonnet-5-5"}) as other:
        emulator.batches.finish()
        assert (await other.get(batch))["state"] == "in_progress"
        # whatever the leases of calls: claims and reservations of a batch stay
        await other.store.renew(unix_ms() + DAY_MS)
        assert (await other.total())["teacher_calls"] == 0
        assert await count(other.store, "reservations") == 2
    async with replica(database_url, emulator) as service:
        ended = await service.ended(batch)
        assert (
            await count(service.store, "claims") == await count(service.store, "reservations") == 0
        )
        total = await service.total()
    assert counted(ended["usage"]) == billed(emulator)
    assert total["teacher_calls"] == 2
    assert batches_of(emulator) == [2]


async def test_results_that_are_gone_are_charged_at_their_bound(sqlite_url, emulator, monkeypatch):
    emulator.settings.batch_s = 3600.0
    async with replica(sqlite_url, emulator, teacher={"batch_attempts": 1}) as service:
        batch = await service.submit(samples(1, 2))
        await service.until_stored(batch, lambda row: row.state == "sent")
        bound = await service.spent()
        monkeypatch.setattr(batch_steps, "_DAY_MS", 0)  # 29 days later
        ended = await service.ended(batch)
        assert await service.spent() == bound
    assert [each["error"]["code"] for each in ended["results"]] == ["teacher_unavailable"] * 2


async def test_ended_batches_are_deleted_after_their_time_and_their_marks_stay(
    database_url, emulator
):
    async with replica(database_url, emulator, store={"batch_retention_days": 1}) as service:
        batch = await service.submit(samples(1, 2))
        await service.ended(batch)
        row = await service.stored(batch)
        await service.store.maintenance.run_once(row.ended_ms + DAY_MS)
        assert await service.stored(batch) is not None
        await service.store.maintenance.run_once(row.ended_ms + DAY_MS + 1)
        assert await service.stored(batch) is None
        assert await count(service.store, "marks") == 2
        assert await count(service.store, "batch_requests") == 0
