"""API keys on both databases: who comes in, to which runs, and for how much money.

The commands that make them.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator

import pytest

from markbook.cli import main
from markbook.config.settings import Budget, Budgets
from markbook.scoring.api import auth
from markbook.scoring.api.auth import Authenticator, hash_secret, new_secret
from markbook.scoring.budgets.limiter import RunBudgetLimiter
from markbook.scoring.errors import UnauthorizedError
from markbook.scoring.store import OWNER, ApiKey, CallContext, Store
from markbook.scoring.store.budgets import BudgetExceededError
from markbook.scoring.types import TeacherCall
from tests.unit.scoring.hands import Hands

SAMPLE = {
    "prompt": "Write add(a, b).",
    "language": "python",
    "code": "def add(a, b):\n    return a + b\n",
}
BOUND = TeacherCall("m", "reserved", 1000, 200, cost_usd=0.01)
BILL = TeacherCall("m", "end_turn", 100, 20, cost_usd=0.001)


def api_key(name: str, secret: str, runs: str = "*", **budget: object) -> ApiKey:
    return ApiKey(name, hash_secret(secret), runs, Budget.model_validate(budget), 1)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url, 10_000)
    opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are read from the book for every request."""
    monkeypatch.setattr(auth, "KEY_CACHE_TTL_S", 0.0)


async def score(http, secret: str | None, run: str = "demo", **sample: str):
    headers = bearer(secret) if secret else {}
    return await http.post(
        "/score", json={"run": run, "samples": [{**SAMPLE, **sample}]}, headers=headers
    )


def test_a_key_is_long_random_and_known_by_its_prefix():
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(
        secret.startswith("mb_") and len(secret) == 46 for secret in secrets
    )  # 32 bytes in 43 characters


async def test_the_book_knows_hashes_only_and_a_name_is_used_once(store):
    assert await store.keys.add(api_key("ann", "mb_1", "a/*", usd=1.5, tokens=7))
    assert not await store.keys.add(api_key("ann", "mb_2"))
    assert await store.keys.revoke("ann", 5)
    assert not await store.keys.revoke("ann", 6)
    assert not await store.keys.add(api_key("ann", "mb_2"))
    [key] = await store.keys.all()
    assert (key.name, key.runs, key.budget, key.revoked_ms) == (
        "ann",
        "a/*",
        Budget(usd=1.5, tokens=7),
        5,
    )
    assert key.digest == hashlib.sha256(b"mb_1").digest()


async def test_without_keys_everybody_comes_in_and_with_one_nobody_without(
    service, store, at_once, database_url
):
    async with service(database_url=database_url) as http:
        assert (await score(http, None)).status_code == 200
        await store.keys.add(api_key("ann", "mb_right"))
        closed = [await score(http, None), await score(http, "mb_wrong"), await http.get("/stats")]
        basic = await http.get("/stats", headers={"Authorization": "Basic mb_right"})
        lower = await http.get("/stats", headers={"Authorization": "bearer mb_right"})
        nowhere = await http.get("/nothing")
        opened = await score(http, "mb_right")
        still_open = [
            await http.get(path) for path in ("/healthz", "/readyz", "/openapi.json", "/docs")
        ]
    assert [answer.status_code for answer in (*closed, basic, nowhere)] == [401] * 5
    assert closed[0].json()["error"] == "unauthorized"
    assert closed[0].headers["www-authenticate"].startswith("Bearer")
    assert "keys add NAME" in closed[0].json()["detail"]
    assert [answer.status_code for answer in (opened, lower, *still_open)] == [200] * 6


async def test_a_key_that_is_revoked_is_refused_and_the_last_one_leaves_the_door_shut(
    service, store, at_once, database_url
):
    await store.keys.add(api_key("ann", "mb_ann"))
    await store.keys.add(api_key("bob", "mb_bob"))
    async with service(database_url=database_url) as http:
        assert (await score(http, "mb_ann")).status_code == 200
        await store.keys.revoke("ann", 1)
        refused, other = await score(http, "mb_ann"), await score(http, "mb_bob")
        await store.keys.revoke("bob", 2)
        nobody = [await score(http, "mb_bob"), await score(http, None)]
    assert (refused.status_code, refused.json()["detail"][:25]) == (
        401,
        "the API key ann was revok",
    )
    assert other.status_code == 200
    assert [answer.status_code for answer in nobody] == [401, 401]


async def test_a_key_is_good_for_the_runs_of_its_pattern(
    service, store, teacher, at_once, database_url
):
    await store.keys.add(api_key("ann", "mb_ann", "team-a/*"))
    async with service(database_url=database_url) as http:
        mine = await score(http, "mb_ann", "team-a/7")
        theirs = [await score(http, "mb_ann", run) for run in ("team-b/7", "team-a", "default")]
        other_stats = await http.get("/stats", params={"run": "team-b/7"}, headers=bearer("mb_ann"))
    assert mine.status_code == 200
    assert [answer.status_code for answer in (*theirs, other_stats)] == [403] * 4
    assert (theirs[0].json()["error"], theirs[0].json()["field"]) == ("forbidden", "run")
    assert "team-a/*" in theirs[0].json()["detail"]
    assert len(teacher.groups) == 1


async def test_stats_show_a_key_its_runs_and_its_budget(service, store, at_once, database_url):
    await store.keys.add(api_key("all", "mb_all"))
    await store.keys.add(api_key("ann", "mb_ann", "a/*", tokens=500))
    async with service(database_url=database_url) as http:
        await score(http, "mb_ann", "a/1")
        await score(http, "mb_all", "b/1", code="def plus(a, b):\n    return a + b\n")
        ann, everything = [
            (await http.get("/stats", headers=bearer(key))).json() for key in ("mb_ann", "mb_all")
        ]
    assert list(ann["runs"]) == ["a/1"]
    assert (ann["totals"]["samples"], everything["totals"]["samples"]) == (1, 2)
    assert list(ann["budgets"]) == ["key ann", "run a/1"]
    assert (
        ann["budgets"]["key ann"]["spent_tokens"],
        ann["budgets"]["key ann"]["limit_tokens"],
    ) == (110, 500)
    assert list(everything["budgets"]) == ["total", "key all", "run a/1", "run b/1"]
    assert everything["budgets"]["total"]["spent_tokens"] == 220


async def test_no_choice_of_run_escapes_the_keys_budget(
    service, store, teacher, at_once, database_url
):
    await store.keys.add(api_key("ann", "mb_ann", tokens=220))  # two samples of 110
    await store.keys.add(api_key("bob", "mb_bob"))
    async with service(database_url=database_url) as http:
        answers = [
            await score(http, "mb_ann", f"run-{n}", code=f"def f{n}(a):\n    return a\n")
            for n in range(3)
        ]
        cached = await score(http, "mb_ann", "run-9", code="def f0(a):\n    return a\n")
        other = await score(http, "mb_bob", "run-0", code="def g(a):\n    return a\n")
    sources = [answer.json()["results"][0]["source"] for answer in (*answers, cached, other)]
    assert sources == ["teacher", "teacher", None, "cache", "teacher"]
    error = answers[2].json()["results"][0]["error"]
    assert error["code"] == "budget_exhausted"
    assert "key ann" in error["detail"]


async def test_audits_of_the_tier_are_paid_for_by_the_key(service, store, at_once, database_url):
    await store.keys.add(api_key("ann", "mb_ann"))
    async with service({"rlaif": {"heuristic_audit_rate": 1.0}}, database_url=database_url) as http:
        await score(http, "mb_ann", code="x")
    assert (await store.money.spent(OWNER))["key ann"][1] == 110


@pytest.mark.parametrize(
    ("budget", "fits", "why"),
    [
        ({"usd": 0.02}, 2, "is exhausted (all $0.02 spent)"),
        (
            {"usd": 0.019999999},
            1,
            "has $0.009999999 of $0.019999999 left, and the next call may cost up to $0.01",
        ),
        ({"tokens": 2400}, 2, "is exhausted (all 2,400 tokens spent)"),
        (
            {"tokens": 2399},
            1,
            "has 1,199 tokens of 2,399 tokens left, and the next call may cost up to 1,200 tokens",
        ),
    ],
)
async def test_both_sides_of_a_keys_budget_over_replicas(
    store, clock, database_url, budget, fits, why
):
    other = Store(database_url, 10_000)
    key = api_key("ann", "mb_ann", **budget)

    def purse(turn: int) -> RunBudgetLimiter:
        purpose = CallContext(f"run {turn}", "ab" * 8, 4, key.name)
        return RunBudgetLimiter((store, other)[turn % 2], purpose, Budgets(), clock, key)

    results = await asyncio.gather(
        *(purse(turn).reserve(BOUND) for turn in range(8)), return_exceptions=True
    )
    reserved = [(turn, result) for turn, result in enumerate(results) if isinstance(result, str)]
    assert len(reserved) == fits
    assert {str(result) for result in results if not isinstance(result, str)} == {
        f"the budget of key ann {why}: see budgets in /stats"
    }
    for turn, reservation in reserved:
        paying = purse(turn)
        await paying.settle(reservation, BOUND, BILL)
        await paying.wait_settled()
    assert (await store.money.spent(OWNER))["key ann"] == (fits * 1_000_000, fits * 120)
    await other.close()


@pytest.mark.parametrize(
    ("usd", "why"),
    [(0.01043, "has less left than the next call may cost, up to $0.01"), (0.01, "is exhausted")],
)
async def test_what_all_have_left_is_not_told_to_a_key(store, clock, usd, why):
    purpose, budgets = CallContext("run", "ab" * 8, 4, "ann"), Budgets(total=Budget(usd=usd))
    paying = RunBudgetLimiter(store, purpose, budgets, clock, api_key("ann", "mb_ann"))
    await paying.reserve(BOUND)
    with pytest.raises(BudgetExceededError) as caught:
        await paying.reserve(BOUND)
    assert caught.value.detail == f"the budget of total {why}: see budgets in /stats"


async def test_a_budget_in_dollars_is_not_spent_at_an_unknown_price(store, clock):
    key = api_key("ann", "mb_ann", usd=1.0)
    purse = RunBudgetLimiter(store, CallContext("a", "ab" * 8, 1, "ann"), Budgets(), clock, key)
    with pytest.raises(BudgetExceededError, match=r"m has no price in teacher\.prices"):
        await purse.reserve(TeacherCall("m", "reserved", 1000, 200, cost_usd=None))
    assert await store.money.spent(OWNER) == {}


async def test_the_keys_are_read_again_after_two_seconds_and_once_for_all_who_ask(store):
    reads = 0

    class Counting:
        async def all(self):
            nonlocal reads
            reads += 1
            return await store.keys.all()

        def note_used(self, name, now_ms):
            store.keys.note_used(name, now_ms)

    hands = Hands()
    door = Authenticator(Counting(), hands)
    await store.keys.add(api_key("ann", "mb_ann"))
    admitted = await asyncio.gather(*(door.authenticate("Bearer mb_ann") for _ in range(20)))
    assert ({key.name for key in admitted}, reads) == ({"ann"}, 1)
    await store.keys.revoke("ann", 1)
    hands.now += 1.99
    assert await door.authenticate("Bearer mb_ann")
    hands.now += 0.01
    with pytest.raises(UnauthorizedError, match="ann was revoked"):
        await door.authenticate("Bearer mb_ann")
    assert reads == 2


def run(monkeypatch, capsys, url: str, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", url)
    status = main([*arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_commands_make_show_and_revoke(monkeypatch, capsys, database_url):
    none = run(monkeypatch, capsys, database_url, "keys", "list")
    added = run(
        monkeypatch, capsys, database_url, "keys", "add", "ann", "--runs", "a/*", "--usd", "2.5"
    )
    second = run(monkeypatch, capsys, database_url, "keys", "add", "bea")
    run(monkeypatch, capsys, database_url, "keys", "revoke", "bea")
    again = run(monkeypatch, capsys, database_url, "keys", "add", "ann")
    listed = run(monkeypatch, capsys, database_url, "keys", "list")
    revoked = run(monkeypatch, capsys, database_url, "keys", "revoke", "ann")
    missing = run(monkeypatch, capsys, database_url, "keys", "revoke", "bob")
    after = run(monkeypatch, capsys, database_url, "keys", "list")
    assert (none[0], "has no keys" in none[2]) == (0, True)
    assert added[0] == 0
    assert "from now on every request needs one" in added[2]
    assert (second[0], "every request" in second[2]) == (0, False)
    secret = added[1].strip()
    assert secret.startswith("mb_")
    assert "shown this once" in added[2]
    assert (again[0], again[1]) == (2, "")
    assert "choose another" in again[2]
    head, row, _ = listed[1].splitlines()
    assert head.split() == [
        "NAME",
        "RUNS",
        "USD",
        "TOKENS",
        "CREATED",
        "USED",
        "EXPIRES",
        "REVOKED",
    ]
    assert row.split()[:5] == ["ann", "a/*", "0.0000", "of", "2.5"]
    assert secret not in listed[1]
    assert revoked[0] == 0
    assert "No valid key is left" in revoked[2]
    assert (missing[0], "no valid key bob" in missing[2]) == (2, True)
    assert len(after[1].splitlines()[1].split()) == len(row.split()) + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "a b"], "'a b' is not 1 to 128 letters, digits and any of . _ : / @ + -"),
        (["add", "ann", "--runs", "a b"], "is not 1 to 128 letters, digits and any of"),
        (["add", "ann", "--usd", "much"], "Invalid value for '--usd'"),
        (
            ["add", "ann", "--usd", "-1"],
            "--usd is -1.0: Input should be greater than or equal to 0",
        ),
        (["add", "ann", "--usd", "nan"], "--usd is nan"),
        (["add", "ann", "--tokens", "-1"], "--tokens is -1"),
        (["add"], "Missing argument 'NAME'"),
        ([], "Missing command"),
    ],
)
def test_a_wrong_argument_is_named_and_no_key_is_made(
    monkeypatch, capsys, tmp_path, arguments, message
):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", f"sqlite:///{tmp_path / 'book.db'}")
    assert main(["keys", *arguments]) == 2
    assert message in capsys.readouterr().err
    if (tmp_path / "book.db").exists():
        with sqlite3.connect(tmp_path / "book.db") as connection:
            assert connection.execute("SELECT count(*) FROM api_keys").fetchone() == (0,)
        connection.close()


def test_dollars_of_a_model_without_a_price_are_refused(monkeypatch, capsys, sqlite_url):
    monkeypatch.setenv("MARKBOOK_TEACHER", "anthropic")
    monkeypatch.setenv("MARKBOOK_TEACHER_MODEL", "unheard-of")
    status, _, said = run(monkeypatch, capsys, sqlite_url, "keys", "add", "ann", "--usd", "1")
    assert (status, "price of unheard-of" in said) == (2, True)
