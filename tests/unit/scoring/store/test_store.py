"""The store on both databases: money adds up exactly, and the schema is what the tables say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from markbook.config.loading import ConfigError
from markbook.contract import Source
from markbook.scoring.api.stats import sum_counters
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store import OWNER, CallContext, RequestLine, Settlement, Store
from markbook.scoring.store.engine import autocommit, migrate, open_engine
from markbook.scoring.store.tables import metadata
from markbook.scoring.types import TeacherCall

PROFILE = "00" * 8
GROUP = "ab" * 8


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url, lease_ms=1_000)
    opened.open(PROFILE, {"teacher": "x"}, 1)
    yield opened
    await opened.close()


def line(number: int, **changes: object) -> RequestLine:
    base = RequestLine(f"request-{number:04}", "run-a", 1_000 + number, 4, 1, 0, 1, 1, 1, {}, 50)
    return replace(base, **changes)


async def counters(store: Store):
    return sum_counters(await store.ledger.sums(OWNER))


async def pay(store: Store, *calls: TeacherCall, run: str = "run-a", at_ms: int = 5) -> None:
    for call in calls:
        purpose = CallContext(run, GROUP, 1)
        reservation = await store.reserve((), purpose, call, {}, at_ms)
        await store.settle([Settlement(reservation, purpose, call, call, at_ms)])


async def test_costs_are_exact_and_bounds_are_kept_apart(store):
    bill = TeacherCall("m", "ok", 3, 5, 7, 11, cost_usd=1e-7, billed_input_equivalent=12.5)
    unknown = TeacherCall("m", "timeout", 1000, 200, cost_usd=0.25, usage_unknown=True)
    for _ in range(3):
        await pay(store, bill)
    await pay(store, unknown, at_ms=6)
    totals, runs = await counters(store)
    block = runs["run-a"]
    assert totals == block
    assert (block.teacher_calls, block.api_tokens_sent, block.api_tokens_received) == (4, 63, 15)
    assert (block.cache_read_input_tokens, block.cache_creation_input_tokens) == (21, 33)
    assert (block.cost_usd, block.billed_input_equivalent) == (3e-7, 37.5)
    assert (
        block.usage_unknown_calls,
        block.usage_unknown_tokens,
        block.usage_unknown_cost_usd,
    ) == (1, 1200, 0.25)
    assert block.tokens_saved == -63


async def test_one_call_of_unknown_price_makes_the_cost_unknown(store):
    await pay(
        store,
        TeacherCall("m", "ok", 1, 1, cost_usd=1.0),
        TeacherCall("?", "ok", 1, 1, cost_usd=None),
    )
    await pay(store, TeacherCall("m", "ok", 1, 1, cost_usd=2.0), run="run-b")
    totals, runs = await counters(store)
    assert (runs["run-a"].cost_usd, runs["run-b"].cost_usd, totals.cost_usd) == (None, 2.0, None)


async def test_a_request_sent_twice_is_counted_once(store):
    await store.ledger.count([line(1), line(2, samples=5, unscored={"teacher_timeout": 1})])
    await store.ledger.count(
        [line(2, samples=5, unscored={"teacher_timeout": 1}), line(3, run="run-b")]
    )
    totals, runs = await counters(store)
    assert list(runs) == ["run-a", "run-b"]
    assert (runs["run-a"].samples, runs["run-a"].unscored, runs["run-a"].tokens_saved) == (
        9,
        1,
        100,
    )
    assert runs["run-a"].by_source == dict.fromkeys(Source, 2) | {Source.TESTS: 0}
    assert runs["run-a"].unscored_by_code == {"teacher_timeout": 1}
    assert (totals.samples, totals.by_source[Source.CACHE]) == (13, 3)


def test_the_migrated_schema_is_the_one_in_tables(empty_database_url):
    engine = open_engine(empty_database_url)
    migrate(engine)
    with autocommit(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_replicas_that_start_together_migrate_once(empty_database_url):
    engines = [open_engine(empty_database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, engines))
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_used_says_so(url):
    with pytest.raises(ConfigError, match=r"store\.database_url"):
        open_engine(url)


def test_an_unreachable_database_is_named_without_its_password():
    store = Store("postgresql://user:secret@127.0.0.1:1/book", lease_ms=1)
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1") as caught:
        store.open(PROFILE, {}, 1)
    assert "secret" not in caught.value.detail
    asyncio.run(store.close())
