"""What batches leave behind: prompts and replies on the page of a mark, ids of requests in the
ledger.
"""

from __future__ import annotations

import json

import pytest
from sqlalchemy import create_engine, text

from markbook.scoring.app import unix_ms
from markbook.scoring.prompts.prompt import system_text
from markbook.scoring.prompts.rubric import load_rubric
from tests.emulator import faults
from tests.integration.batching import replica, samples
from tests.unit.scoring.dashboard.test_samples_page import links, page

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key-that-is-secret")


def ledger_ids(database_url: str) -> list[str]:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        ids = (
            connection.execute(text("SELECT id FROM ledger_calls ORDER BY at_ms, id"))
            .scalars()
            .all()
        )
    engine.dispose()
    return [*ids]


@pytest.mark.parametrize("keeps", [True, False])
async def test_the_page_of_a_mark_of_a_batch_has_the_prompt_and_reply(
    database_url, emulator, keeps
):
    async with replica(
        database_url, emulator, store={"keep_exchanges": 5 if keeps else 0}
    ) as service:
        await service.ended(await service.submit(samples(1, 3)))
        pages = [
            await page(service.http, link) for link in links(await page(service.http, "/samples"))
        ]
    [entry] = emulator.log
    assert len(pages) == 3
    for shown in pages:
        if not keeps:
            assert shown.all("details", "exchange") == []
            continue
        system, message, reply = [each.text.removeprefix("\n") for each in shown.all("pre")[2:]]
        assert system == system_text(load_rubric(), explain=False)
        assert message == entry.body["messages"][0]["content"]
        assert len(reply.splitlines()) == 3  # a line per sample
        assert f'"max_tokens": {entry.body["max_tokens"]}' in shown.one("details", "exchange").text
        assert "test-key" not in json.dumps([each.text for each in shown.elements])


async def test_a_request_without_a_judgment_has_no_exchange(sqlite_url, emulator):
    emulator.settings.batch_faults = faults.script("expired")
    teacher = {"batch_attempts": 1}
    async with replica(
        sqlite_url, emulator, teacher=teacher, store={"keep_exchanges": 5}
    ) as service:
        batch = await service.ended(await service.submit(samples(1, 2)))
    assert [each["status"] for each in batch["results"]] == ["unscored"] * 2


async def test_a_request_that_is_sent_again_once_its_batch_is_deleted_is_another_batch(
    database_url, emulator
):
    emulator.settings.batch_faults = faults.script("expired")
    life = {"ledger_retention_days": None, "batch_retention_days": 1.0}
    async with replica(
        database_url, emulator, teacher={"batch_attempts": 1}, store=life
    ) as service:
        first = await service.submit(samples(1, 2), request_id="request-1")
        failed = (await service.ended(first))["results"]
        await service.store.maintenance.run_once(unix_ms() + 2 * DAY_MS)
        assert (await service.http.get(f"/batches/{first}")).status_code == 404
        again = await service.submit(samples(1, 2), request_id="request-1")
        marked = (await service.ended(again))["results"]
        spent_usd, _ = await service.spent()
    assert again == first
    assert [each["status"] for each in failed] == ["unscored"] * 2
    assert [each["source"] for each in marked] == ["teacher"] * 2
    ids = ledger_ids(database_url)
    assert len(ids) == len(set(ids)) == 2
    assert all(each.startswith(f"{first}-") and each.endswith("-1-0") for each in ids)
    assert spent_usd == pytest.approx(sum(entry.dollars() for entry in emulator.log), abs=2e-9)
