"""The page of API keys on both databases: who may use it, each of its forms, other sites, and
what is logged.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from markbook.scoring.dashboard import routes
from markbook.scoring.observability.logs import FIELDS
from tests.unit.scoring.api.test_keys import SAMPLE, api_key, at_once, bearer, store
from tests.unit.scoring.reading import Page

__all__ = ["at_once", "store"]

SECRET = re.compile(r"mb_[A-Za-z0-9_-]{43}")
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def admin(service, store, at_once, database_url):
    """`async with admin() as http:` signed in with the admin key root; there is also ann, for
    the runs a/*.
    """

    @asynccontextmanager
    async def signed_in(secret: str = "mb_root", settings=None):
        await store.keys.add(replace(api_key("root", "mb_root"), is_admin=True))
        await store.keys.add(replace(api_key("ann", "mb_ann", "a/*", usd=2.0), created_ms=2))
        async with service(settings, database_url=database_url) as http:
            assert (await http.post("/login", data={"key": secret})).status_code == 303
            yield http

    return signed_in


async def send(http, action: str, headers=SAME_SITE, **fields: str):
    return await http.post("/keys", data={"action": action, **fields}, headers=headers)


def rows(html: str) -> dict[str, str]:
    """The table of valid keys: by name, the words of its row."""
    page = Page(html)
    found = [row.words for row in page.all("tr")[1:]]
    return {row.split()[0]: row for row in found}


async def test_the_page_shows_every_key_and_no_secret(admin):
    async with admin() as http:
        await http.post(
            "/score", json={"run": "a/1", "samples": [SAMPLE]}, headers=bearer("mb_ann")
        )
        page = await http.get("/keys")
        home = await http.get("/")
    assert page.status_code == 200
    assert list(rows(page.text)) == ["root", "ann"]
    assert rows(page.text)["root"].startswith("root admin *")
    assert "$0.00015 of $2.00, 110 tokens" in rows(page.text)["ann"]
    assert rows(page.text)["ann"].endswith(
        "no limit never never"
    )  # its use is noted once per minute
    assert "mb_" not in page.text
    assert page.headers["content-security-policy"] == routes.HEADERS["Content-Security-Policy"]
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert '<a href="keys">Keys</a>' in home.text


async def test_only_admin_keys_may_use_it(admin, service, sqlite_url):
    async with admin("mb_ann") as http:
        shown, home = await http.get("/keys"), await http.get("/")
        tried = await send(http, "add", name="eve", runs="*", is_admin="on")
        by_key = await http.get("/keys", headers=bearer("mb_root"))
        left = await http.post("/logout")
        outside, posted = (
            await http.get("/keys"),
            await send(http, "revoke", name="ann", confirmed="on"),
        )
        keys = await http.get("/keys", headers=bearer("mb_root"))
    assert (shown.status_code, tried.status_code, by_key.status_code, left.status_code) == (
        403,
        403,
        200,
        303,
    )
    assert "may not manage keys" in shown.text
    assert 'href="keys"' not in home.text
    assert [(each.status_code, each.headers["location"]) for each in (outside, posted)] == [
        (303, "login")
    ] * 2
    assert list(rows(keys.text)) == ["root", "ann"]


async def test_without_keys_the_first_one_is_made_by_command(service):
    async with service() as http:
        shown, tried = await http.get("/keys"), await send(http, "add", name="eve", runs="*")
    assert (shown.status_code, tried.status_code) == (403, 403)
    assert "markbook keys add NAME --admin" in tried.text


async def test_a_key_is_added_with_all_it_may_do_and_shown_once(admin, store, caplog):
    fields = {
        "name": "team-b",
        "runs": "b/*",
        "usd": "1.5",
        "tokens": "",
        "per": "month",
        "requests_per_minute": "30",
        "samples_per_minute": "",
        "days": "7",
    }
    async with admin() as http:
        added = await send(http, "add", **fields)
        [secret] = SECRET.findall(added.text)
        used = await http.post(
            "/score", json={"run": "b/1", "samples": [SAMPLE]}, headers=bearer(secret)
        )
        other = await http.post(
            "/score", json={"run": "a/1", "samples": [SAMPLE]}, headers=bearer(secret)
        )
        again, later = await send(http, "add", **fields), await http.get("/keys")
    assert (added.status_code, used.status_code, other.status_code) == (200, 200, 403)
    assert (again.status_code, "there is or was a key of the name team-b" in again.text) == (
        422,
        True,
    )
    assert 'value="b/*"' in again.text  # the form keeps what was typed
    assert not SECRET.findall(again.text + later.text)
    key = next(each for each in await store.keys.all() if each.name == "team-b")
    assert (key.budget.usd, key.budget.tokens, key.budget.per) == (1.5, None, "month")
    assert (key.requests_per_minute, key.samples_per_minute, key.is_admin) == (30, None, False)
    assert 0 <= key.expires_ms - key.created_ms - 7 * 86_400_000 < 1_000
    assert "this month" in rows(later.text)["team-b"]
    assert "30 requests per minute" in rows(later.text)["team-b"]
    assert secret not in caplog.text


async def test_a_key_is_changed(admin, store):
    async with admin() as http:
        changed = await send(
            http,
            "change",
            name="ann",
            runs="c/*",
            usd="",
            tokens="9",
            samples_per_minute="5",
            days="1",
        )
        refused = await send(http, "change", name="ann", runs="c/*", tokens="-1")
        unknown = await send(http, "change", name="eve", runs="*")
        kept = await send(http, "change", name="ann", runs="c/*", tokens="9", days="")
        after = next(each for each in await store.keys.all() if each.name == "ann")
        never = await send(http, "change", name="ann", runs="*", never_expires="on", is_admin="on")
    assert [each.status_code for each in (changed, refused, unknown, kept, never)] == [
        200,
        422,
        422,
        200,
        200,
    ]
    assert Page(changed.text).one("p", "banner").words == "ann is changed."
    assert "tokens is -1: " in Page(refused.text).one("p", "banner").words
    assert (after.runs, after.budget.usd, after.budget.tokens, after.samples_per_minute) == (
        "c/*",
        None,
        9,
        None,
    )
    assert after.expires_ms is not None
    last = next(each for each in await store.keys.all() if each.name == "ann")
    assert (last.runs, last.expires_ms, last.is_admin) == ("*", None, True)


async def test_a_secret_is_replaced_once_however_often_the_form_is_sent(admin):
    async with admin() as http:
        page = await http.get("/keys")
        [issued] = set(
            re.findall(
                r'name="name" value="ann">\s*<input type="hidden" name="issued" value="(\d+)"',
                page.text,
            )
        )
        rotated = await send(http, "rotate", name="ann", issued=issued)
        reloaded = await send(http, "rotate", name="ann", issued=issued)
        [secret] = SECRET.findall(rotated.text)
        old = await http.get("/stats", headers=bearer("mb_ann"))
        new = await http.get("/stats", headers=bearer(secret))
        strange = [
            await send(http, "rotate", name="ann", issued=each) for each in ("", "x", "9" * 30)
        ]
    assert (rotated.status_code, reloaded.status_code) == (200, 422)
    assert "replaced meanwhile" in reloaded.text
    assert not SECRET.findall(reloaded.text)
    assert (old.status_code, new.status_code) == (401, 200)
    assert [each.status_code for each in strange] == [422] * 3


async def test_a_key_is_revoked_when_the_box_is_ticked(admin):
    async with admin() as http:
        unticked = await send(http, "revoke", name="ann")
        still = await http.get("/stats", headers=bearer("mb_ann"))
        revoked = await send(http, "revoke", name="ann", confirmed="on")
        gone = await http.get("/stats", headers=bearer("mb_ann"))
        again = await send(http, "revoke", name="ann", confirmed="on")
    assert (unticked.status_code, still.status_code) == (422, 200)
    assert (revoked.status_code, gone.status_code, again.status_code) == (200, 401, 422)
    assert list(rows(revoked.text)) == ["root"]
    assert any(each.words.startswith("ann revoked") for each in Page(revoked.text).all("li"))


async def test_an_admin_does_not_lock_itself_out(admin):
    async with admin() as http:
        revoked = await send(http, "revoke", name="root", confirmed="on")
        demoted = await send(http, "change", name="root", runs="*")
        rotated = await send(http, "rotate", name="root", issued="1")
        [secret] = SECRET.findall(rotated.text)
        ended, signed_in = await http.get("/keys"), await http.post("/login", data={"key": secret})
        back = await http.get("/keys")
    assert (revoked.status_code, demoted.status_code, rotated.status_code) == (422, 422, 200)
    assert (ended.status_code, signed_in.status_code, back.status_code) == (303, 303, 200)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_form_of_another_site_changes_nothing(admin, headers):
    async with admin() as http:
        answers = [
            await send(http, "add", headers, name="eve", runs="*", is_admin="on"),
            await send(http, "rotate", headers, name="ann", issued="2"),
            await send(http, "revoke", headers, name="ann", confirmed="on"),
        ]
        page = await http.get("/keys")
    assert [each.status_code for each in answers] == [403] * 3
    assert list(rows(page.text)) == ["root", "ann"]


async def test_every_change_is_in_the_log_with_the_key_that_made_it(admin, caplog):
    caplog.set_level("INFO", "markbook.audit")
    async with admin() as http:
        added = await send(http, "add", name="bob", runs="b/*")
        await send(http, "change", name="bob", runs="*", is_admin="on")
        await send(http, "rotate", name="ann", issued="2")
        await send(http, "revoke", name="bob", confirmed="on")
        await send(http, "revoke", name="nobody", confirmed="on")
    records = [each for each in caplog.records if each.name == "markbook.audit"]
    assert [(each.getMessage(), getattr(each, FIELDS)) for each in records] == [
        (
            "API key added",
            {"action": "added", "key": "bob", "by": "root", "runs": "b/*", "admin": False},
        ),
        (
            "API key changed",
            {"action": "changed", "key": "bob", "by": "root", "runs": "*", "admin": True},
        ),
        (
            "API key rotated",
            {"action": "rotated", "key": "ann", "by": "root", "runs": "a/*", "admin": False},
        ),
        (
            "API key revoked",
            {"action": "revoked", "key": "bob", "by": "root", "runs": "*", "admin": True},
        ),
    ]
    assert not [secret for secret in SECRET.findall(added.text) if secret in caplog.text]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"action=open", 422),
        (b"action=add&name=a%20b&runs=*", 422),
        (b"action=add&name=&runs=*", 422),
        (b"action=add&name=" + b"x" * 129 + b"&runs=*", 422),
        (b"action=add&name=%ff&runs=*", 422),
        (b"action=\xff", 422),
        (b"&".join(b"a%d=1" % number for number in range(40)), 422),
        (b"action=add&name=" + b"x" * 9000, 413),
        (b"action=add&name=<script>alert(1)</script>&runs=*", 422),
    ],
)
async def test_a_form_that_no_browser_sends_is_refused(admin, body, status):
    headers = {"Content-Type": "application/x-www-form-urlencoded", **SAME_SITE}
    async with admin() as http:
        answer = await http.post("/keys", content=body, headers=headers)
    assert answer.status_code == status
    assert "<script" not in answer.text


async def test_dollars_need_a_price(admin):
    settings = {"teacher": {"name": "anthropic", "model": "unheard-of"}}
    async with admin(settings=settings) as http:
        answer = await send(http, "add", name="bob", runs="*", usd="1")
    assert (answer.status_code, "it needs the price of unheard-of" in answer.text) == (422, True)


async def test_the_form_of_a_key_has_every_digit_of_its_budget(admin):
    async with admin() as http:
        await send(http, "add", name="bob", runs="*", usd="12345.67")
        page = Page((await http.get("/keys")).text)
    assert "12345.67" in [each.attributes.get("value") for each in page.all("input")]
