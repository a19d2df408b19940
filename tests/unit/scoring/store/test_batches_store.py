"""The rows of batches on both databases: leases, claims and reservations that have none, results
that count once.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.store import (
    OWNER,
    BatchTakenError,
    CallContext,
    ClaimConflictError,
    NewResult,
    RequestLine,
    SampleState,
    Store,
    StoredRequest,
)
from markbook.scoring.store.budgets import BudgetExceededError
from markbook.scoring.store.settlement import TOTAL
from markbook.scoring.types import TeacherCall
from tests.unit.scoring.book import GROUP, NOW, PROFILE, count, held, marked, named, opened

LEASE_MS = 1_000
BOUND = TeacherCall("m", "reserved", 1000, 100, cost_usd=0.01, usage_unknown=True)
BILL = TeacherCall("m", "end_turn", 600, 20, cost_usd=0.002)
DONE = SampleState(1, outcome="{}")
ASKED = SampleState(1)


@asynccontextmanager
async def with_batch(database_url, *names):
    """Stores of as many replicas as there are `names`, and a batch in them, whose lease the
    first has.
    """
    async with opened(database_url) as first:
        others = [Store(database_url, LEASE_MS) for _ in names[1:]]
        for other in others:
            other.open(PROFILE, {"teacher": "x"}, NOW)
        await first.batches.add("b1", "r", None, PROFILE, 2, b"body", NOW)
        batch = await first.batches.acquire(PROFILE, NOW)
        yield batch, first, *others
        for other in others:
            await other.close()


def request(number: int, *codes: str) -> StoredRequest:
    return StoredRequest(f"b1-1-{number}", [named(code).digest for code in codes], BOUND)


def context(samples: int = 1) -> CallContext:
    return CallContext("r", GROUP, samples)


async def planned(store, batch, *codes, limits=None):
    """A round with a request per code, sent."""
    await store.batches.claim(batch, [named(code) for code in codes], NOW)
    asked = [(request(number, code), context()) for number, code in enumerate(codes)]
    states = {named(code).digest: ASKED for code in codes}
    return await store.batches.plan(batch, asked, states, limits or {}, NOW)


def result(asked: StoredRequest, *codes: str, bill: TeacherCall = BILL) -> NewResult:
    return NewResult(
        asked, GROUP, [marked(code) for code in codes], dict.fromkeys(asked.digests, DONE), bill
    )


async def spent(store) -> tuple[int, int]:
    return (await store.money.spent(OWNER)).get(TOTAL, (0, 0))


async def test_one_replica_at_a_time_works_on_a_batch(database_url):
    async with with_batch(database_url, "a", "b") as (batch, first, second):
        assert (batch.id, batch.state, batch.body) == ("b1", "queued", b"body")
        assert await second.batches.acquire(PROFILE, NOW + LEASE_MS) is None
        assert (await second.batches.acquire(PROFILE, NOW + LEASE_MS + 1)).id == "b1"
        # the first one was paused; it may neither write nor take it back in secret
        assert await first.batches.acquire(PROFILE, NOW + 10 * LEASE_MS) is None
        with pytest.raises(BatchTakenError):
            await first.batches.begin_send(batch, NOW + LEASE_MS + 2)
        with pytest.raises(BatchTakenError):
            await first.batches.finish(batch, b"", line(), NOW + LEASE_MS + 2)


async def test_a_lease_is_renewed_while_its_owner_works_and_a_batch_waits_until_it_is_due(
    database_url,
):
    async with with_batch(database_url, "a", "b") as (batch, first, second):
        await first.batches.renew(NOW + LEASE_MS)
        assert await second.batches.acquire(PROFILE, NOW + 2 * LEASE_MS) is None
        await first.batches.release(batch.id, 5_000, NOW + LEASE_MS)
        assert await second.batches.acquire(PROFILE, NOW + LEASE_MS + 4_999) is None
        assert await second.batches.acquire(PROFILE, NOW + LEASE_MS + 5_000) is not None


async def test_a_batch_of_another_profile_is_left(database_url):
    async with with_batch(database_url, "a") as (batch, first):
        await first.batches.release(batch.id, 0, NOW)
        assert await first.batches.acquire("11" * 8, NOW + 1) is None


async def test_a_sample_of_a_batch_stays_claimed_however_long_it_takes(database_url):
    late = NOW + 86_400_000
    async with with_batch(database_url, "a", "b") as (batch, first, second):
        await planned(first, batch, "one", "two")
        await second.renew(late)
        for store in (first, second):
            with pytest.raises(ClaimConflictError) as conflict:
                await store.reserve([named("one")], context(), BOUND, {}, late)
            assert conflict.value.asked == {named("one").digest}
            failures = (
                await store.claims.poll([named("one").digest, named("new").digest], late)
            ).failures
            assert {failure.code for failure in failures.values()} == {ErrorCode.IN_BATCH}
        assert await count(first, "reservations") == 2
        assert await count(first, "ledger_calls") == 0


async def test_a_batch_claims_what_is_free_and_gets_what_is_stored(database_url):
    async with with_batch(database_url, "a", "b") as (batch, first, second):
        await second.record_group(NOW, GROUP, [marked("stored")], {})
        await second.reserve([named("called")], context(), BOUND, {}, NOW)
        wanted = [named(code) for code in ("stored", "called", "free")]
        claimed, stored = await first.batches.claim(batch, wanted, NOW)
        assert claimed == {named("free").digest}
        assert set(stored) == {named("stored").digest}
        # and once the call's lease is over, that as well; again its own
        claimed, _ = await first.batches.claim(batch, wanted, NOW + LEASE_MS + 1)
        assert claimed == {named("called").digest, named("free").digest}
        assert await count(first, "claims") == 2


async def test_claims_of_many_samples_take_several_statements(database_url):
    many = [named(f"code {number}") for number in range(1201)]
    async with with_batch(database_url, "a") as (batch, first):
        claimed, stored = await first.batches.claim(batch, many, NOW)
        assert (len(claimed), stored) == (1201, {})
        await first.batches.resolve(batch, {each.digest: DONE for each in many}, NOW)
        assert await count(first, "claims") == 0
        assert len(await first.batches.samples("b1")) == 1201


async def test_a_batch_is_reserved_as_a_whole_or_not_at_all(database_url):
    async with with_batch(database_url, "a") as (batch, first):
        with pytest.raises(BudgetExceededError):
            await planned(first, batch, "one", "two", limits={TOTAL: [Budget(tokens=2199)]})
        assert await spent(first) == (0, 0)
        assert first.money.watch.current(NOW) == {}  # the budget is neither spent nor exhausted
        assert await count(first, "batch_requests") == await count(first, "reservations") == 0
        now = await planned(first, batch, "one", "two", limits={TOTAL: [Budget(tokens=2200)]})
        assert (now.state, now.round, now.requests, now.send_ms) == ("sending", 1, 2, None)
        assert await spent(first) == (20_000_000, 2200)


async def test_a_result_is_stored_and_booked_once(database_url):
    async with with_batch(database_url, "a") as (batch, first):
        now = await planned(first, batch, "one", "two")
        now = await first.batches.begin_send(now, NOW)
        now = await first.batches.mark_sent(now, "msgbatch_1", NOW)
        assert await first.batches.provider_ids() == {"msgbatch_1"}
        for _ in range(2):
            await first.batches.record(now, result(request(0, "one"), "one"), NOW)
        assert await spent(first) == (2_000_000 + 10_000_000, 620 + 1100)
        assert await held(first, "one", "two") == {"one"}
        assert [each.id for each in await first.batches.open_requests("b1", 1)] == ["b1-1-1"]
        assert [call for _, call in await first.batches.bills("b1")] == [BILL]
        assert await count(first, "claims") == 1


async def test_a_failed_sample_that_is_open_stays_claimed_and_one_that_is_not_is_free(database_url):
    async with with_batch(database_url, "a") as (batch, first):
        now = await planned(first, batch, "again", "left")
        free = TeacherCall("m", "expired", failed=True)
        again, left = request(0, "again"), request(1, "left")
        retry = SampleState(1, failure="{}")
        await first.batches.record(
            now, NewResult(again, GROUP, [], {again.digests[0]: retry}, free), NOW
        )
        await first.batches.record(
            now, NewResult(left, GROUP, [], {left.digests[0]: DONE}, free), NOW
        )
        assert await spent(first) == (0, 0)
        assert await first.batches.samples("b1") == {again.digests[0]: retry, left.digests[0]: DONE}
        await first.reserve([named("left")], context(), BOUND, {}, NOW)
        with pytest.raises(ClaimConflictError):
            await first.reserve([named("again")], context(), BOUND, {}, NOW)


def line() -> RequestLine:
    return RequestLine("b1", "r", NOW, 2, 0, 0, 0, 0, 2, {}, 100)


async def test_an_ended_batch_keeps_its_response_only(database_url):
    async with with_batch(database_url, "a") as (batch, first):
        await planned(first, batch, "one")
        await first.batches.finish(batch, b"response", line(), NOW + 5)
        stored = await first.batches.get(OWNER, "b1")
        assert (stored.state, stored.body, stored.response, stored.ended_ms) == (
            "ended",
            None,
            b"response",
            NOW + 5,
        )
        assert await count(first, "batch_samples") == await count(first, "claims") == 0
        assert await count(first, "ledger_requests") == 1
        assert await first.batches.acquire(PROFILE, NOW + 10 * LEASE_MS) is None


async def test_the_same_batch_is_added_once(database_url):
    async with with_batch(database_url, "a") as (_, first):
        await first.batches.add("b1", "r", None, PROFILE, 3, b"other", NOW + 1)
        assert (await first.batches.get(OWNER, "b1")).samples == 2
