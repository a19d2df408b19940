"""Batches over the whole service and the emulator: marks, bills, budgets, other requests for the
same samples.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from markbook.config.settings import Budget
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.pipeline.batches import BatchService
from markbook.scoring.store import ApiKey
from tests.emulator import faults
from tests.integration.batching import billed, counted, replica, sample, samples
from tests.integration.test_anthropic_teacher import true_marks

BROKEN = {"prompt": "Write f.", "language": "python", "code": "def f(: return 4"}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")


async def test_a_batch_has_the_marks_of_calls_and_half_their_bill(database_url, emulator):
    asked = [*samples(3, 4), BROKEN, sample(0, 0)]  # the last one is the first again
    async with replica(database_url, emulator) as service:
        batch = await service.ended(await service.submit(asked))
        total = await service.total()
        spent_usd, spent_tokens = await service.spent()
    sources = [result["source"] for result in batch["results"]]
    assert sources == ["teacher"] * 12 + ["heuristic", "coalesced"]
    for each, result in zip(asked[:12], batch["results"], strict=False):
        assert result["criteria"] == true_marks(each["code"])
    assert len(emulator.batches.all()) == 1
    assert len(emulator.log) == batch["usage"]["teacher_calls"] == total["teacher_calls"] == 3
    assert counted(batch["usage"]) == billed(emulator)
    dollars = sum(entry.dollars() for entry in emulator.log)
    assert batch["usage"]["cost_usd"] == pytest.approx(dollars, abs=2e-9)
    assert spent_usd == total["cost_usd"] == pytest.approx(dollars, abs=2e-9)
    assert spent_tokens == sum(billed(emulator))
    assert total["samples"] == 14
    assert total["by_source"] == {
        "heuristic": 1,
        "tests": 0,
        "cache": 0,
        "coalesced": 1,
        "teacher": 12,
    }


async def test_the_same_samples_cost_twice_as_much_by_calls(sqlite_url, emulator, tmp_path):
    teacher = {"cache_ttl": "1h", "max_concurrency": 1}
    async with replica(sqlite_url, emulator, teacher=teacher) as service:
        batch = await service.ended(await service.submit(samples(3, 4)))
        emulator.log.clear()
        emulator.cache.clear()
    async with replica(f"sqlite:///{tmp_path / 'calls.db'}", emulator, teacher=teacher) as service:
        calls = (await service.http.post("/score", json={"samples": samples(3, 4)})).json()
    assert counted(calls["usage"]) == counted(batch["usage"])
    assert calls["usage"]["cost_usd"] == pytest.approx(2 * batch["usage"]["cost_usd"], abs=4e-9)
    assert [each["score"] for each in calls["results"]] == [
        each["score"] for each in batch["results"]
    ]


async def test_what_is_sent_again_with_its_id_is_the_same_batch(sqlite_url, emulator):
    async with replica(sqlite_url, emulator) as service:
        first = await service.submit(samples(1, 2), request_id="request-1")
        assert await service.submit(samples(1, 2), request_id="request-1") == first
        assert await service.submit(samples(1, 2), request_id="request-2") != first
        await service.ended(first)
        assert (await service.total())["samples"] in (2, 4)
    assert len(emulator.log) == 1


async def test_the_setting_is_the_default_of_the_request(sqlite_url, emulator):
    async with replica(sqlite_url, emulator, teacher={"batch": "on"}) as service:
        default = await service.http.post("/score", json={"samples": samples(1, 1)})
        call = await service.http.post(
            "/score", json={"samples": samples(2, 1)[1:], "batch": False}
        )
        await service.ended(default.json()["id"])
    assert (default.status_code, call.status_code) == (202, 200)


async def test_a_teacher_without_batches_refuses_them_in_one_line(service, sqlite_url, emulator):
    async with service() as http:
        answer = await http.post("/score", json={"samples": samples(1, 1), "batch": True})
    assert (answer.status_code, answer.json()["field"]) == (422, "batch")
    assert answer.json()["detail"].startswith("a fake that records: it has no batches")
    async with replica(sqlite_url, emulator, teacher={"base_url_has_batches": False}) as other:
        answer = await other.http.post("/score", json={"samples": samples(1, 1), "batch": True})
    assert answer.status_code == 422
    assert emulator.batches.all() == []


async def test_a_batch_has_its_own_limit_of_samples(sqlite_url, emulator):
    limits = {"max_samples_per_request": 1, "max_samples_per_batch": 3}
    async with replica(sqlite_url, emulator, service=limits) as service:
        await service.ended(await service.submit(samples(1, 3)))
        answer = await service.http.post("/score", json={"samples": samples(1, 4), "batch": True})
    assert answer.status_code == 413
    assert "at most 3 (service.max_samples_per_batch)" in answer.json()["detail"]


async def test_a_key_for_other_runs_sees_no_batch(sqlite_url, emulator):
    def header(name):
        return {"authorization": f"Bearer {name}"}

    async with replica(sqlite_url, emulator) as service:
        for name, runs in (("ann", "a/*"), ("bob", "b/*")):
            await service.store.keys.add(ApiKey(name, hash_secret(name), runs, Budget(), 1))
        body = {"run": "a/1", "samples": samples(1, 1), "batch": True}
        assert (await service.http.post("/score", json=body)).status_code == 401
        assert (
            await service.http.post("/score", json=body, headers=header("bob"))
        ).status_code == 403
        batch = (await service.http.post("/score", json=body, headers=header("ann"))).json()["id"]
        seen = [
            (await service.http.get(f"/batches/{batch}", headers=header(name)))
            for name in ("ann", "bob")
        ]
        assert [answer.status_code for answer in seen] == [200, 404]
        assert seen[1].json()["error"] == "batch_not_found"


async def test_batches_count_towards_the_rate_limit_of_their_key(sqlite_url, emulator):
    async with replica(sqlite_url, emulator) as service:
        key = ApiKey("ann", hash_secret("ann"), "*", Budget(), 1, samples_per_minute=4)
        await service.store.keys.add(key)
        codes = []
        for number in range(2):
            body = {"samples": samples(1, 4), "batch": True, "request_id": f"request-{number}"}
            answer = await service.http.post(
                "/score", json=body, headers={"authorization": "Bearer ann"}
            )
            codes.append(answer.status_code)
    assert codes == [202, 429]


async def test_a_batch_whose_key_is_revoked_makes_no_call(sqlite_url, emulator, monkeypatch):
    monkeypatch.setattr(BatchService, "_start", lambda *_: None)  # nothing is planned yet
    async with replica(sqlite_url, emulator) as service:
        await service.store.keys.add(ApiKey("ann", hash_secret("ann"), "*", Budget(), 1))
        body = {"samples": samples(1, 2), "batch": True}
        answer = await service.http.post(
            "/score", json=body, headers={"authorization": "Bearer ann"}
        )
        await service.store.keys.revoke("ann", 2)
    monkeypatch.undo()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    async with replica(sqlite_url, emulator) as service:
        await service.store.keys.add(ApiKey("bob", hash_secret("bob"), "*", Budget(), 1))
        stored = await service.until_stored(answer.json()["id"], lambda row: row.state == "ended")
    assert (stored.state, emulator.batches.all()) == ("ended", [])


async def test_a_budget_takes_the_whole_batch_at_its_bound_and_gives_back_the_rest(
    sqlite_url, emulator, tmp_path
):
    emulator.settings.batch_s = 3600.0
    async with replica(sqlite_url, emulator) as service:
        batch = await service.submit(samples(3, 4))
        await service.until_stored(batch, lambda row: row.state == "sent")
        bound_usd, bound_tokens = await service.spent()
        emulator.batches.finish()
        await service.ended(batch)
        spent_usd, spent_tokens = await service.spent()
    assert bound_tokens > spent_tokens == sum(billed(emulator))
    assert bound_usd > spent_usd > 0
    emulator.settings.batch_s = 0.0
    for number, (tokens, fits) in enumerate([(bound_tokens, True), (bound_tokens - 1, False)]):
        emulator.batches.clear()
        budgets = {"runs": {"r": {"tokens": tokens}}}
        async with replica(
            f"sqlite:///{tmp_path / f'{number}.db'}", emulator, budgets=budgets
        ) as service:
            ended = await service.ended(await service.submit([*samples(3, 4), BROKEN]))
            _, left = await service.spent()
        *asked, broken = ended["results"]
        assert broken["source"] == "heuristic"
        assert {each["status"] for each in asked} == {"scored" if fits else "unscored"}
        assert len(emulator.batches.all()) == fits
        if not fits:
            assert left == 0
            assert {each["error"]["code"] for each in asked} == {"budget_exhausted"}
            assert "none of the batch's 3 requests was sent" in asked[0]["error"]["detail"]


async def test_a_sample_in_a_batch_is_not_paid_for_by_a_call_or_another_batch(
    database_url, emulator
):
    emulator.settings.batch_s = 3600.0
    async with replica(database_url, emulator) as service:
        first = await service.submit(samples(1, 4))
        await service.until_stored(first, lambda row: row.state == "sent")
        second = await service.submit(samples(1, 4))
        body = {"samples": [sample(0, 0), sample(9, 9)]}
        mine, other = (await service.http.post("/score", json=body)).json()["results"]
        assert (mine["error"]["code"], mine["error"]["retry_after_s"]) == ("in_batch", 60.0)
        assert other["source"] == "teacher"
        assert (await service.get(second))["state"] == "queued"
        emulator.batches.finish()
        await service.ended(first)
        waited = await service.ended(second)
        cached = (await service.http.post("/score", json=body)).json()["results"][0]
    assert {each["source"] for each in waited["results"]} <= {"cache", "coalesced"}
    assert waited["usage"]["teacher_calls"] == 0
    assert cached["source"] == "cache"
    assert len(emulator.batches.all()) == 1


def _has_begun(emulator):
    """Whether a call came within ten seconds; waits for it."""
    deadline = time.monotonic() + 10
    while not emulator.log and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(emulator.log)


async def test_a_batch_waits_for_a_call_that_asks_for_the_same_sample(database_url, emulator):
    emulator.settings.latency_s = 0.3
    async with replica(database_url, emulator) as service:
        call = asyncio.create_task(service.http.post("/score", json={"samples": samples(1, 2)}))
        name = (
            await service.submit(samples(1, 4))
            if await asyncio.to_thread(_has_begun, emulator)
            else ""
        )
        batch = await service.ended(name)
        assert (await call).json()["usage"]["teacher_calls"] == 1
    assert sorted(code for entry in emulator.log for code in entry.codes) == sorted(
        each["code"] for each in samples(1, 4)
    )
    assert all(result["status"] == "scored" for result in batch["results"])


@pytest.mark.parametrize("kind", ["expired", "canceled", "errored"])
async def test_a_request_without_an_answer_is_asked_anew_or_left(
    kind, sqlite_url, emulator, tmp_path
):
    for attempts in (2, 1):
        emulator.clear(count=emulator.settings.count)
        emulator.settings.batch_faults = faults.script(kind, None)
        url = f"sqlite:///{tmp_path / f'{attempts}.db'}"
        async with replica(url, emulator, teacher={"batch_attempts": attempts}) as service:
            batch = await service.ended(await service.submit(samples(2, 2)))
            tokens = (await service.spent())[1]
        assert tokens == sum(billed(emulator))
        assert len(emulator.batches.all()) == attempts
        unscored = [
            each["error"]["code"] for each in batch["results"] if each["status"] == "unscored"
        ]
        code = "teacher_timeout" if kind == "expired" else "teacher_unavailable"
        assert unscored == ([] if attempts == 2 else [code] * 2)


async def test_a_request_that_is_not_valid_is_not_asked_anew(sqlite_url, emulator):
    emulator.settings.batch_faults = faults.script("invalid")
    async with replica(sqlite_url, emulator) as service:
        batch = await service.ended(await service.submit(samples(1, 2)))
    assert [each["error"]["code"] for each in batch["results"]] == ["teacher_rejected"] * 2
    assert batch["results"][0]["error"]["retry_after_s"] is None
    assert len(emulator.batches.all()) == 1


async def test_what_is_missing_in_a_reply_is_asked_for_alone_in_another_batch(sqlite_url, emulator):
    emulator.settings.batch_faults = faults.script("missing")
    async with replica(sqlite_url, emulator) as service:
        batch = await service.ended(await service.submit(samples(1, 4)))
    assert [each["source"] for each in batch["results"]] == ["teacher"] * 4
    together, alone = [entry.codes for entry in emulator.log]
    assert alone == together[3:]
    assert counted(batch["usage"]) == billed(emulator)


@pytest.mark.parametrize(("ttl", "writes"), [("1h", 1), ("5m", 6)])
async def test_the_rubric_is_written_once_where_its_life_spans_the_batch(
    ttl, writes, sqlite_url, emulator
):
    emulator.settings.batch_request_s = 400.0  # six requests in 40 minutes
    async with replica(sqlite_url, emulator, teacher={"batch_cache_ttl": ttl}) as service:
        await service.ended(await service.submit(samples(6, 4)))
    bills = [entry.bill for entry in emulator.log]
    assert sum(bool(bill.cache_write_5m + bill.cache_write_1h) for bill in bills) == writes
    assert sum(bool(bill.cache_read_input_tokens) for bill in bills) == 6 - writes


async def test_an_empty_batch_ends(sqlite_url, emulator):
    async with replica(sqlite_url, emulator) as service:
        batch = await service.ended(await service.submit([]))
    assert batch["results"] == []
