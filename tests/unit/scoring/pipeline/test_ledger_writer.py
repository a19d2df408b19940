"""Request lines: those that led paid calls are durable before the reply, the others soon after,
none is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from markbook.scoring.api.stats import sum_counters
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.pipeline import ledger_writer
from markbook.scoring.pipeline.ledger_writer import LedgerWriter
from markbook.scoring.store import OWNER, RequestLine, Store
from markbook.scoring.store.ledger import Ledger

AWAY = StoreUnavailableError("the database went away")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url, lease_ms=1_000)
    opened.open("00" * 8, {"teacher": "x"}, 1)
    yield opened
    await opened.close()


class Counting:
    """Stands before the ledger: keeps the sizes of batches, fails before or after the commit if
    told to.
    """

    def __init__(self, store: Store) -> None:
        self._count = store.ledger.count
        self.batches: list[int] = []
        self.fail_before = self.fail_after = False
        self.called = asyncio.Event()
        store.ledger.count = self  # type: ignore[method-assign, assignment]

    async def __call__(self, lines: list[RequestLine]) -> None:
        self.batches.append(len(lines))
        self.called.set()
        if self.fail_before:
            raise AWAY
        await self._count(lines)
        if self.fail_after:
            raise AWAY


@pytest.fixture
def counting(store: Store) -> Counting:
    return Counting(store)


@pytest.fixture
async def writer(store: Store, counting: Counting, monkeypatch) -> AsyncIterator[LedgerWriter]:
    monkeypatch.setattr(
        ledger_writer, "FLUSH_S", 3600.0
    )  # nothing is written by the clock unless a test says so
    opened = LedgerWriter(store)
    yield opened
    await opened.close()


def line(number: int) -> RequestLine:
    return RequestLine(f"request-{number:04}", "run-a", 1_000 + number, 4, 1, 0, 3, 0, 0, {}, 50)


async def samples(store: Store) -> int:
    return sum_counters(await store.ledger.sums(OWNER))[0].samples


async def test_paid_lines_that_arrive_together_are_committed_together(store, writer, counting):
    await asyncio.gather(*(writer.add(line(number), durable=True) for number in range(20)))
    assert await samples(store) == 80
    assert sum(counting.batches) == 20
    assert len(counting.batches) <= 2


async def test_a_line_that_cost_nothing_waits_for_the_next_that_did(store, writer, counting):
    await writer.add(line(1), durable=False)
    await writer.add(line(2), durable=False)
    assert (counting.batches, await samples(store)) == ([], 0)
    await writer.add(line(3), durable=True)
    assert (counting.batches, await samples(store)) == ([3], 12)


async def test_a_line_that_cost_nothing_is_written_without_another(
    store, writer, counting, monkeypatch
):
    assert ledger_writer.FLUSH_S > 1  # the fixture's
    monkeypatch.setattr(ledger_writer, "FLUSH_S", 0.001)
    await writer.add(line(1), durable=False)
    await counting.called.wait()
    assert counting.batches == [1]


def test_counts_of_hits_are_flushed_within_a_second():
    assert 0 < ledger_writer.FLUSH_S < 1


async def test_lines_outlive_a_failed_flush_and_are_counted_once(store, writer, counting):
    counting.fail_before = True
    await writer.add(line(1), durable=False)
    with pytest.raises(StoreUnavailableError):
        await writer.add(line(2), durable=True)
    counting.fail_before, counting.fail_after = False, True  # committed, and the answer lost
    with pytest.raises(StoreUnavailableError):
        await writer.add(line(3), durable=True)
    counting.fail_after = False
    await writer.add(line(2), durable=False)  # sent again by a client that was told 503
    await writer.flush()
    assert await samples(store) == 12


async def test_memory_is_bounded_and_what_does_not_fit_is_refused(
    store, writer, counting, monkeypatch
):
    monkeypatch.setattr(ledger_writer, "MAX_LINES", 3)
    counting.fail_before = True
    for number in range(3):
        await writer.add(line(number), durable=False)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await writer.add(line(3), durable=False)
    counting.fail_before = False
    await writer.add(line(4), durable=False)
    await writer.flush()
    assert await samples(store) == 16


async def test_closing_writes_the_rest(store, writer, counting):
    await writer.add(line(1), durable=False)
    await writer.close()
    await writer.close()
    assert (counting.batches, await samples(store)) == ([1], 4)


async def test_what_cannot_be_written_at_the_end_is_named(store, writer, counting, caplog):
    counting.fail_before = True
    await writer.add(line(1), durable=False)
    await writer.add(line(2), durable=False)
    await writer.close()
    assert "2 requests (8 samples) stay uncounted: the database went away" in caplog.text
    counting.fail_before = False


async def test_a_hit_does_not_wait_for_the_ledger(service, database_url, monkeypatch):
    sample = {
        "prompt": "Write add(a, b).",
        "language": "python",
        "code": "def add(a, b):\n    return a + b\n",
    }

    async def away(self, lines):
        raise AWAY

    async with service(database_url=database_url) as http:
        await http.post("/score", json={"samples": [sample]})
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "count", away)
            hit = await http.post("/score", json={"samples": [sample]})
        counts = (await http.get("/stats")).json()["totals"]
    assert (hit.status_code, hit.json()["results"][0]["source"]) == (200, "cache")
    assert counts["by_source"] == {
        "heuristic": 0,
        "tests": 0,
        "cache": 1,
        "coalesced": 0,
        "teacher": 1,
    }
