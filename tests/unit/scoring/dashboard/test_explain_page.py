"""The button "Explain this one" on both databases: one call per sample, its cost before it,
booked, and refused.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.config.loading import parse_config
from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.api.auth import SESSION_COOKIE, Authenticator, hash_secret
from markbook.scoring.dashboard.explain_cost import explain_cost
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.types import ScoringFailure
from tests.unit.scoring.dashboard.test_samples_page import (
    HOSTILE,
    B,
    add_keys,
    explaining,
    links,
    page,
    score,
)
from tests.unit.scoring.pipeline.test_tests_tier import RIGHT, TASK, WRONG, sample
from tests.unit.scoring.reading import Page

__all__ = ["explaining"]


async def test_to_explain_asks_once_is_booked_and_leaves_the_mark(
    service, explaining, database_url
):
    async with service(by=explaining, database_url=database_url) as http:
        [result] = await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        before = (await http.get("/stats")).json()["runs"]["demo"]
        asked = await page(http, link)
        assert "Asks recording-1 once. It costs " in asked.one("form", "explain").words
        assert "charged to run demo" in asked.one("form", "explain").words
        answers = await asyncio.gather(*(http.post(link) for _ in range(3)))
        assert {answer.status_code for answer in answers} == {303}
        assert {answer.headers["location"] for answer in answers} == {
            f"{link.removeprefix('/samples/')}#why"
        }
        shown = await page(http, link)
        [again] = await score(http, sample(RIGHT, []))
        after = (await http.get("/stats")).json()["runs"]["demo"]
    assert [group.explain for group in explaining.groups] == [False, True]
    assert shown.all("form", "explain") == []
    assert f"because of {HOSTILE}" in shown.one("article").text
    assert (after["teacher_calls"], after["samples"]) == (
        before["teacher_calls"] + 1,
        before["samples"] + 1,
    )
    assert after["cost_usd"] == pytest.approx(2 * before["cost_usd"])
    assert (again["score"], again["reasons"], again["source"]) == (result["score"], [], "cache")


async def test_what_could_not_be_explained_is_said_and_may_be_asked_again(
    service, explaining, database_url
):
    settings = {"budgets": {"per_run": {"tokens": 250}}}
    async with service(settings, by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        explaining.failures[RIGHT.rstrip("\n")] = explaining.failures[RIGHT] = ScoringFailure(
            ErrorCode.REPLY_UNREADABLE, "the reply <b>was</b> no marks"
        )
        failed = await http.post(link)
        assert failed.status_code == 503
        assert (
            "There is no explanation: the reply <b>was</b> no marks"
            in Page(failed.text).one("p", "wrong").text
        )
        explaining.failures.clear()
        spent = await http.post(link)  # 110 tokens twice; a third call would be 330
        assert (spent.status_code, "budget" in Page(spent.text).one("p", "wrong").words) == (
            503,
            True,
        )
    assert len(explaining.groups) == 2
    async with service(by=explaining, database_url=database_url) as http:
        assert (await http.post(link)).status_code == 303


async def test_a_sample_being_explained_says_so_and_another_call_takes_over_when_that_was_cut_off(
    service, explaining, clock, database_url
):
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        explaining.gate, explaining.asked = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(http.post(link))
        await explaining.asked.wait()
        waiting = await page(http, link)
        assert "has been asked at" in waiting.one("article").words
        assert (await http.get(link)).headers["refresh"] == "5"
        assert (await http.post(link)).status_code == 303
        assert len(explaining.groups) == 2
        explaining.gate.set()
        assert (await first).status_code == 303
        assert "because of" in (await page(http, link)).one("article").words


async def test_a_sample_whose_explanation_was_cut_off_may_be_explained_again(
    service, explaining, clock, database_url
):
    stale_ms = 2 * 150_000  # twice teacher.timeout_s
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        dead, began_ms = Store(database_url, 1_000), clock.now_ms
        await dead.explanations.acquire(
            bytes.fromhex(link.removeprefix("/samples/")), "demo", "m", began_ms, stale_ms
        )
        await dead.close()
        clock.now_ms = began_ms + stale_ms - 1_000
        assert (await page(http, link)).all("form", "explain") == []
        clock.now_ms = began_ms + stale_ms
        assert len((await page(http, link)).all("form", "explain")) == 1
        assert (await http.post(link)).status_code == 303
        assert "because of" in (await page(http, link)).one("article").words


async def test_explain_is_refused_from_other_sites_and_without_a_text(
    service, explaining, database_url
):
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await http.post(link, headers=headers)).status_code == 403
    async with service(
        {"store": {"store_samples": False}}, by=explaining, database_url=database_url
    ) as http:
        await score(http, sample(WRONG, []))
        bare = next(each for each in links(await page(http, "/samples?by=none")) if each != link)
        assert "cannot be asked" in (await page(http, bare)).one("article").words
        assert (await http.post(bare)).status_code == 404
    assert len(explaining.groups) == 2


async def test_a_browser_signs_in_to_the_samples_and_explains_with_its_session(
    service, explaining, database_url
):
    await add_keys(database_url)
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []), run="team-b/1", headers=B)
        [link] = links(await page(http, "/samples", headers=B))
        for path, login in (("/samples", "login"), (link, "../login")):
            answer = await http.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, login)
        key = ApiKey("b", hash_secret("mb_b"), "team-b/*", Budget(), 1)
        http.cookies.set(SESSION_COOKIE, Authenticator(None).issue_session(key))
        assert len(links(await page(http, "/samples"))) == 1
        assert (await http.post(link, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303
        assert "because of" in (await page(http, link)).one("article").words
        assert (await http.get("/stats")).status_code == 401  # the session is for pages


def test_the_cost_is_said_before_and_holds_the_emulators_bill():
    rubric = load_rubric()
    config = parse_config({"teacher": {"name": "anthropic"}})
    shown = explain_cost(config, rubric, (TASK, "python"), RIGHT, is_stub=False)
    least, most = (float(each.removeprefix("$")) for each in shown.split(" to "))
    # Haiku 5.5: about 1,000 tokens of rubric at 0.01 $ (read) or 0.125 $ (written) per million, a
    # reply of 26 to 79
    assert 0.00001 < least < 0.00004
    assert 0.0001 < most < 0.0004
    assert explain_cost(config, rubric, (TASK, "python"), RIGHT, is_stub=True).startswith("nothing")
    unknown = parse_config({"teacher": {"name": "anthropic", "model": "some-model"}})
    assert "teacher.prices" in explain_cost(unknown, rubric, (TASK, "python"), RIGHT, is_stub=False)
