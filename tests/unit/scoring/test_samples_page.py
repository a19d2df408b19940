"""The pages of samples on both databases: the list, one sample and why it has its score, and what "explain" does."""

from __future__ import annotations

import asyncio
import re

import pytest

from markbook.config.loading import parse_config
from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.api.auth import SESSION_COOKIE, Authenticator, hash_secret
from markbook.scoring.dashboard.explain_cost import explain_cost
from markbook.scoring.dashboard.rendering import HEADERS
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import RecordingTeacher, true_criteria
from tests.unit.scoring.reading import Page
from tests.unit.scoring.test_tests_tier import BROKEN, RIGHT, TASK, WRONG, sample

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="alert(2)">'
A, B, ROOT = ({"Authorization": f"Bearer mb_{name}"} for name in ("a", "b", "root"))


class Explaining(RecordingTeacher):
    """Gives a reason to those who ask for one."""

    async def mark(self, group, purse):
        outcomes = await super().mark(group, purse)
        if not group.explain:
            return outcomes
        return tuple(
            Judgment(each.criteria, (f"because of {HOSTILE}",)) if isinstance(each, Judgment) else each
            for each in outcomes
        )


@pytest.fixture
def explaining() -> Explaining:
    return Explaining()


async def score(http, *samples, run="demo", headers=None):
    answer = await http.post("/score", json={"run": run, "samples": list(samples)}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def page(http, path: str, status: int = 200, **asked) -> Page:
    answer = await http.get(path, **asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    return Page(answer.text)


def links(shown: Page) -> list[str]:
    """Paths of the listed samples."""
    found = [each.attributes["href"] for each in shown.all("a")]
    return [
        f"/samples/{href.removeprefix('samples/')}" for href in found if re.match(r"(samples/)?[0-9a-f]{58,}", href)
    ]


async def add_keys(database_url: str) -> None:
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    for name, runs in (("root", "*"), ("a", "team-a/*"), ("b", "team-b/*")):
        await store.keys.add(ApiKey(name, hash_secret(f"mb_{name}"), runs, Budget(), 1))
    await store.close()


async def test_every_sample_of_a_group_is_found_with_the_reason_for_its_score(service, database_url):
    async with service(database_url=database_url) as http:
        await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN), sample(""))
        listed = await page(http, "/samples")
        pages = [await page(http, link) for link in links(listed)]
    assert len(pages) == 4
    assert [each.words for each in listed.all("h3")] == [f"{TASK} 4 samples, mean {listed.all('h3')[0].words[-4:]}"]
    whys = {each.one("h2").words: " ".join(each.one("article").words.split()) for each in pages}
    # one of three tests passed: 0.05 + (0.3 - 0.05) / 3 = 0.13
    assert "2 of 3 tests failed, so no teacher was called: the score is between 0.05 and 0.30" in whys["0.13"]
    assert "1 of 3 passed." in whys["0.13"]
    assert "assert add(1, 2) == 3 expected 3 got 2" in whys["0.13"]
    assert "Rejected before any teacher was called. A bracket is never closed." in whys["0.02"]
    assert "There is no code." in whys["0.00"]
    [right] = [why for why in whys.values() if "Marked by the teacher" in why]
    given = {**true_criteria(RIGHT), "correctness": 1.0}
    assert "correctness 1.0 1.00 counts 30 %" in right.replace("\N{NO-BREAK SPACE}", " ")
    terms = [f"{weight} × {given[name]:.2f}" for name, weight in load_rubric().criteria.items()]
    assert f"{' + '.join(terms)} = {load_rubric().score(given):.2f}" in right
    assert "correctness is what they show" in right


async def test_filters_narrow_the_list_and_stay_in_its_links(service, database_url):
    async with service(database_url=database_url) as http:
        await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN))
        await score(http, {**sample("fn main() {", []), "language": "rust"}, run="other")
        for query, number in (
            ("source=teacher", 1),
            ("source=heuristic", 2),
            ("language=rust", 1),
            ("reason=tests_failed", 1),
            ("low=0.1&high=0.2", 1),
            ("run=other", 1),
            ("source=&language=&reason=&low=&high=&sort=highest&by=none", 4),
        ):
            listed = await page(http, f"/samples?{query}")
            assert len(links(listed)) == number, query
        by_score = await page(http, "/samples?sort=lowest&by=none&source=heuristic")
        assert all("source=heuristic&sort=lowest&by=none" in link for link in links(by_score))
        shown = await page(http, links(by_score)[0])
        [after] = [each.attributes["href"] for each in shown.all("a") if each.attributes.get("rel") == "next"]
        assert f"/samples/{after}" == links(by_score)[1]
        chosen = [each.attributes["value"] for each in by_score.all("option") if "selected" in each.attributes]
        assert chosen == ["lowest", "heuristic", "none"]
        for wrong in ("source=all", "low=2", "low=x", "task=zz", "after=1", "sort=best", "page=2"):
            assert (await http.get(f"/samples?{wrong}")).status_code == 422, wrong


async def test_the_list_goes_on_page_by_page(service, database_url):
    async with service(database_url=database_url) as http:
        for number in range(23):
            await score(
                http, {"prompt": f"task {number}", "language": "python", "code": f"x = {number}((", "tests": []}
            )
        for query, sizes in (("", [10, 10, 3]), ("?by=none", [23])):
            path, seen = f"/samples{query}", []
            while path:
                listed = await page(http, path)
                seen.append(links(listed))
                onward = [each.attributes["href"] for each in listed.all("a") if each.words == "Next"]
                path = f"/{onward[0]}" if onward else None
            assert [len(each) for each in seen] == sizes
            assert len({link for each in seen for link in each}) == 23


async def test_a_sample_has_the_others_of_its_group_beside_it(service, database_url):
    codes = [f"def add(a, b):\n    return a + b + {number}\n" for number in range(3)]
    async with service(database_url=database_url) as http:
        await score(http, *(sample(code, []) for code in codes), sample(BROKEN, []))
        listed = await page(http, "/samples?source=teacher")
        shown = await page(http, links(listed)[0])
        headings = [each.words for each in shown.all("h3")]
    assert "Judged together with it" in headings
    assert "Other samples of this task" in headings
    assert len(links(shown)) == 2 + 1 + 1  # two of the group, the rejected one, and the next one of the list
    assert "1 of 1 judged together" in shown.one("article").words  # that is what the recording teacher says


async def test_foreign_text_is_text_on_the_new_pages(service, explaining, database_url):
    code = f"x = 1\n{HOSTILE}\N{RIGHT-TO-LEFT OVERRIDE}\0"
    hostile = {"prompt": f"{HOSTILE} task", "language": HOSTILE[:30], "code": code}
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, hostile, {**hostile, "code": ""})
        listed = await page(http, "/samples")
        first = links(listed)
        for link in first:
            assert (await http.post(link)).status_code == 303
        pages = [listed, *[await page(http, link) for link in first]]
    for each in pages:
        assert {element.tag for element in each.elements}.isdisjoint({"script", "img", "iframe", "object", "style"})
        assert not any(name.startswith("on") for element in each.elements for name in element.attributes)
    assert any("⟨U+202E⟩⟨U+0000⟩" in each.one("pre", "code").text for each in pages[1:])
    assert all("because of </pre><script>" in each.one("article").text for each in pages[1:])


async def test_to_explain_asks_once_is_booked_and_leaves_the_mark(service, explaining, database_url):
    async with service(by=explaining, database_url=database_url) as http:
        [result] = await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        before = (await http.get("/stats")).json()["runs"]["demo"]
        asked = await page(http, link)
        assert "Asks recording-1 once. It costs " in asked.one("form", "explain").words
        assert "charged to run demo" in asked.one("form", "explain").words
        answers = await asyncio.gather(*(http.post(link) for _ in range(3)))
        assert {answer.status_code for answer in answers} == {303}
        assert {answer.headers["location"] for answer in answers} == {f"{link.removeprefix('/samples/')}#why"}
        shown = await page(http, link)
        [again] = await score(http, sample(RIGHT, []))
        after = (await http.get("/stats")).json()["runs"]["demo"]
    assert [group.explain for group in explaining.groups] == [False, True]
    assert shown.all("form", "explain") == []
    assert f"because of {HOSTILE}" in shown.one("article").text
    assert (after["teacher_calls"], after["samples"]) == (before["teacher_calls"] + 1, before["samples"] + 1)
    assert after["cost_usd"] == pytest.approx(2 * before["cost_usd"])
    assert (again["score"], again["reasons"], again["source"]) == (result["score"], [], "cache")


async def test_what_could_not_be_explained_is_said_and_may_be_asked_again(service, explaining, database_url):
    settings = {"budgets": {"per_run": {"tokens": 250}}}
    async with service(settings, by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        explaining.failures[RIGHT.rstrip("\n")] = explaining.failures[RIGHT] = ScoringFailure(
            ErrorCode.REPLY_UNREADABLE, "the reply <b>was</b> no marks"
        )
        failed = await http.post(link)
        assert failed.status_code == 503
        assert "There is no explanation: the reply <b>was</b> no marks" in Page(failed.text).one("p", "wrong").text
        explaining.failures.clear()
        spent = await http.post(link)  # 110 tokens twice; a third call would be 330
        assert (spent.status_code, "budget" in Page(spent.text).one("p", "wrong").words) == (503, True)
    assert len(explaining.groups) == 2
    async with service(by=explaining, database_url=database_url) as http:
        assert (await http.post(link)).status_code == 303


async def test_a_sample_that_is_being_explained_says_so_and_another_call_takes_over_when_that_was_cut_off(
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
        assert [each.attributes.get("content") for each in waiting.all("meta") if "http-equiv" in each.attributes] == [
            "5"
        ]
        assert (await http.post(link)).status_code == 303
        assert len(explaining.groups) == 2
        explaining.gate.set()
        assert (await first).status_code == 303
        assert "because of" in (await page(http, link)).one("article").words


async def test_explain_is_refused_from_other_sites_and_without_a_text(service, explaining, database_url):
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await http.post(link, headers=headers)).status_code == 403
    async with service({"store": {"store_samples": False}}, by=explaining, database_url=database_url) as http:
        await score(http, sample(WRONG, []))
        bare = next(each for each in links(await page(http, "/samples?by=none")) if each != link)
        assert "cannot be asked" in (await page(http, bare)).one("article").words
        assert (await http.post(bare)).status_code == 404
    assert len(explaining.groups) == 2


async def test_no_key_reads_or_explains_samples_of_another_team(service, explaining, database_url):
    await add_keys(database_url)
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []), sample(BROKEN, []), run="team-b/secret", headers=B)
        theirs = links(await page(http, "/samples", headers=B))
        assert len(theirs) == 2
        mine = await page(http, "/samples", headers=A)
        assert links(mine) == []
        assert "secret" not in mine.one("main").text
        for link in theirs:
            foreign, none = [await http.get(each, headers=A) for each in (link, link[:-2] + "78")]
            assert (foreign.status_code, foreign.text) == (none.status_code, none.text)
            assert foreign.status_code == 404
            assert (await http.post(link, headers=A)).status_code == 404
        assert (await http.get("/samples?run=team-b/secret", headers=A)).status_code == 403
        assert len(explaining.groups) == 1
        await score(http, sample(RIGHT, []), sample(BROKEN, []), run="team-a/1", headers=A)
        shared = links(await page(http, "/samples", headers=A))
        assert [each.partition("?")[0] for each in shared] == theirs
        assert (await http.post(theirs[0], headers=A)).status_code == 303
        spent = (await http.get("/stats", headers=ROOT)).json()["runs"]
    assert spent["team-a/1"]["teacher_calls"] == 1  # who asks, pays
    assert spent["team-b/secret"]["teacher_calls"] == 1


async def test_a_browser_signs_in_to_the_samples_and_explains_with_its_session(service, explaining, database_url):
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


async def test_an_old_link_to_a_mark_leads_to_its_own_address(service, database_url):
    async with service(database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        dashboard = await page(http, "/")
        [link] = links(dashboard)
        answer = await http.get(f"/?since=week&mark={link.removeprefix('/samples/')}")
        assert (answer.status_code, answer.headers["location"]) == (303, link.removeprefix("/"))
        assert "Marked by the teacher" in (await page(http, link)).one("article").words


async def test_rejects_are_not_listed_where_none_are_kept(service, database_url):
    async with service({"store": {"keep_rejects": 0}}, database_url=database_url) as http:
        await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN))
        listed = await page(http, "/samples")
    assert len(links(listed)) == 1
    assert "are not kept" in listed.one("main").words


def test_the_cost_is_said_before_and_holds_the_emulators_bill():
    rubric = load_rubric()
    config = parse_config({"teacher": {"name": "anthropic"}})
    shown = explain_cost(config, rubric, (TASK, "python"), RIGHT, is_stub=False)
    least, most = (float(each.removeprefix("$")) for each in shown.split(" to "))
    # Haiku 5.5: about 1,000 tokens of rubric at 0.01 $ (read) or 0.125 $ (written) per million, a reply of 26 to 79
    assert 0.00001 < least < 0.00004
    assert 0.0001 < most < 0.0004
    assert explain_cost(config, rubric, (TASK, "python"), RIGHT, is_stub=True).startswith("nothing")
    unknown = parse_config({"teacher": {"name": "anthropic", "model": "some-model"}})
    assert "teacher.prices" in explain_cost(unknown, rubric, (TASK, "python"), RIGHT, is_stub=False)
