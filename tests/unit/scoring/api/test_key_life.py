"""The life of an API key on both databases: expiry, rotation, changes, last use, and the
commands for them.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from markbook.config.settings import Budget
from markbook.scoring.api.auth import Authenticator, hash_secret
from markbook.scoring.api.key_admin import DAY_MS, KeySettings, parse_settings
from markbook.scoring.errors import BadRequestError, UnauthorizedError
from markbook.scoring.store.api_keys import USE_INTERVAL_MS
from tests.unit.scoring.api.test_keys import api_key, at_once, bearer, run, store
from tests.unit.scoring.dashboard.test_page import Times
from tests.unit.scoring.hands import Hands

__all__ = ["at_once", "store"]


async def test_a_key_and_its_sessions_end_when_it_expires(store, at_once):
    wall = Times()
    await store.keys.add(
        replace(api_key("ann", "mb_ann"), expires_ms=round(wall.now * 1000) + 1_000)
    )
    door = Authenticator(store.keys, Hands(), wall)
    session = door.issue_session(await door.authenticate("Bearer mb_ann"))
    wall.now += 0.999
    assert (await door.authenticate("Bearer mb_ann")).name == "ann"
    assert (await door.verify_session(session)).name == "ann"
    wall.now += 0.001
    with pytest.raises(UnauthorizedError, match="the API key ann has expired"):
        await door.authenticate("Bearer mb_ann")
    with pytest.raises(UnauthorizedError, match="has expired"):
        await door.verify_session(session)


async def test_a_rotated_key_keeps_everything_but_its_secret(store, at_once):
    before = replace(
        api_key("ann", "mb_old", "a/*", usd=1.0, per="month"),
        samples_per_minute=7,
        expires_ms=10**13,
    )
    await store.keys.add(before)
    assert await store.keys.rotate("ann", hash_secret("mb_new"), 500, before.issued_ms)
    assert not await store.keys.rotate(
        "ann", hash_secret("mb_twice"), 600, before.issued_ms
    )  # the form was sent twice
    assert not await store.keys.rotate("bob", hash_secret("mb_bob"), 600, 1)
    [after] = await store.keys.all()
    assert after == replace(before, digest=hash_secret("mb_new"), rotated_ms=500)
    door = Authenticator(store.keys)
    assert (await door.authenticate("Bearer mb_new")).name == "ann"
    with pytest.raises(UnauthorizedError, match="invalid API key"):
        await door.authenticate("Bearer mb_old")
    assert await store.keys.rotate(
        "ann", hash_secret("mb_3"), 500, after.issued_ms
    )  # in the same millisecond
    [third] = await store.keys.all()
    assert third.issued_ms == 501
    await store.keys.revoke("ann", 700)
    assert not await store.keys.rotate("ann", hash_secret("mb_4"), 800, third.issued_ms)
    assert not await store.keys.change(third)


async def test_a_change_replaces_what_a_key_may_do(store):
    before = replace(api_key("ann", "mb_ann", "a/*", usd=1.0), samples_per_minute=7)
    await store.keys.add(before)
    after = replace(
        before, runs="*", budget=Budget(tokens=5, per="day"), is_admin=True, samples_per_minute=None
    )
    assert await store.keys.change(after)
    assert await store.keys.all() == [after]


async def test_the_last_use_is_written_once_per_minute_and_never_goes_back(store, database_url):
    await store.keys.add(api_key("ann", "mb_ann"))
    await store.keys.add(api_key("bob", "mb_bob"))

    async def used() -> dict[str, int | None]:
        return {key.name: key.last_used_ms for key in await store.keys.all()}

    for at_ms, seen in (
        (1_000, 1_000),
        (1_000 + USE_INTERVAL_MS - 1, 1_000),
        (1_000 + USE_INTERVAL_MS, None),
    ):
        store.keys.note_used("ann", at_ms)
        await store.keys.flush_last_used()
        assert await used() == {"ann": seen or at_ms, "bob": None}
    store.keys._written.clear()  # as another replica, whose clock is behind
    store.keys.note_used("ann", 5_000)
    await store.keys.flush_last_used()
    assert (await used())["ann"] == 1_000 + USE_INTERVAL_MS


async def test_a_request_is_a_use(service, store, at_once, database_url):
    await store.keys.add(api_key("ann", "mb_ann"))
    async with service(database_url=database_url) as http:
        await http.get("/stats", headers=bearer("mb_ann"))
    [key] = await store.keys.all()
    assert key.last_used_ms is not None  # written at the stop


def test_settings_of_a_form():
    settings = parse_settings(
        {
            "runs": " a/* ",
            "usd": "1.5",
            "tokens": "",
            "per": "day",
            "requests_per_minute": "60",
            "days": "2",
        }
    )
    key = settings.apply(api_key("ann", "mb_ann"), 1_000)
    assert (key.runs, key.budget) == ("a/*", Budget(usd=1.5, per="day"))
    assert (key.requests_per_minute, key.samples_per_minute, key.is_admin) == (60, None, False)
    assert key.expires_ms == 1_000 + 2 * DAY_MS
    assert KeySettings().apply(key, 5_000).expires_ms == key.expires_ms  # as it was
    assert KeySettings(never_expires=True).apply(key, 5_000).expires_ms is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"runs": "a b"}, "runs is a b: "),
        ({"runs": ""}, "runs is : "),
        ({"usd": "-1"}, "usd is -1: Input should be greater than or equal to 0"),
        ({"usd": "nan"}, "usd is nan: "),
        ({"tokens": "1.5"}, "tokens is 1.5: "),
        ({"per": "week"}, "per is week: Input should be 'day' or 'month'"),
        (
            {"requests_per_minute": "0"},
            "requests_per_minute is 0: Input should be greater than or equal to 1",
        ),
        ({"days": "0"}, "days is 0: Input should be greater than 0"),
        ({"days": "36501"}, "days is 36501: Input should be less than or equal to 36500"),
        ({"is_admin": True, "runs": "a/*"}, "runs is a/*: an admin key can make keys for all runs"),
    ],
)
def test_a_wrong_setting_is_named(fields, message):
    with pytest.raises(BadRequestError) as caught:
        parse_settings(fields)
    assert caught.value.detail.startswith(message)


def test_the_commands_set_show_and_rotate(monkeypatch, capsys, database_url):
    options = ("--tokens", "5", "--per", "day", "--requests-per-minute", "60", "--days", "1.5")
    added = run(monkeypatch, capsys, database_url, "keys", "add", "ann", *options)
    admin = run(
        monkeypatch,
        capsys,
        database_url,
        "keys",
        "add",
        "root",
        "--admin",
        "--samples-per-minute",
        "9",
    )
    [ann, root] = json.loads(run(monkeypatch, capsys, database_url, "keys", "list", "--json")[1])
    listed = run(monkeypatch, capsys, database_url, "keys", "list")[1]
    rotated = run(monkeypatch, capsys, database_url, "keys", "rotate", "ann")
    missing = run(monkeypatch, capsys, database_url, "keys", "rotate", "bob")
    assert [each[0] for each in (added, admin, rotated)] == [0, 0, 0]
    assert (ann["limit_tokens"], ann["per"], ann["requests_per_minute"], ann["admin"]) == (
        5,
        "day",
        60,
        False,
    )
    assert ann["expires"] > ann["created"]
    assert (root["admin"], root["samples_per_minute"], root["expires"], root["last_used"]) == (
        True,
        9,
        None,
        None,
    )
    assert "0 of 5 per day" in listed
    assert rotated[1].startswith("mb_")
    assert rotated[1] != added[1]
    assert "The old one is refused" in rotated[2]
    assert (missing[0], "there is no valid key bob" in missing[2]) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--admin", "--runs", "a/*"], "--runs is a/*: an admin key"),
        (
            ["--requests-per-minute", "0"],
            "--requests-per-minute is 0: Input should be greater than or equal to 1",
        ),
        (["--days", "0"], "--days is 0.0: Input should be greater than 0"),
        (["--per", "week"], "Invalid value for '--per'"),
    ],
)
def test_a_wrong_option_is_named(monkeypatch, capsys, sqlite_url, arguments, message):
    status, _, said = run(monkeypatch, capsys, sqlite_url, "keys", "add", "ann", *arguments)
    assert (status, message in said) == (2, True), said
