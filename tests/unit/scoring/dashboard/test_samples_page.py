"""The pages of samples on both databases: the list, one sample and why it has its score, and
what "explain" does.
"""

from __future__ import annotations

import re

import pytest

from markbook.config.settings import Budget
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.dashboard.rendering import HEADERS
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.types import Judgment
from tests.fakes import RecordingTeacher, true_criteria
from tests.unit.scoring.pipeline.test_tests_tier import BROKEN, RIGHT, TASK, WRONG, sample
from tests.unit.scoring.reading import Page

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="alert(2)">'
A, B, ROOT = ({"Authorization": f"Bearer mb_{name}"} for name in ("a", "b", "root"))


class Explaining(RecordingTeacher):
    """Gives a reason to those who ask for one."""

    async def mark(self, group, purse):
        outcomes = await super().mark(group, purse)
        if not group.explain:
            return outcomes
        return tuple(
            Judgment(each.criteria, (f"because of {HOSTILE}",))
            if isinstance(each, Judgment)
            else each
            for each in outcomes
        )


@pytest.fixture
def explaining() -> Explaining:
    return Explaining()


async def score(http, *samples, run="demo", headers=None):
    answer = await http.post(
        "/score", json={"run": run, "samples": list(samples)}, headers=headers or {}
    )
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
        f"/samples/{href.removeprefix('samples/')}"
        for href in found
        if re.match(r"(samples/)?[0-9a-f]{58,}", href)
    ]


async def add_keys(database_url: str) -> None:
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    for name, runs in (("root", "*"), ("a", "team-a/*"), ("b", "team-b/*")):
        await store.keys.add(ApiKey(name, hash_secret(f"mb_{name}"), runs, Budget(), 1))
    await store.close()


async def test_every_sample_of_a_group_is_found_with_the_reason_for_its_score(
    service, database_url
):
    async with service(database_url=database_url) as http:
        await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN), sample(""))
        listed = await page(http, "/samples")
        pages = [await page(http, link) for link in links(listed)]
    assert len(pages) == 4
    assert [each.words for each in listed.all("h3")] == [
        f"{TASK} 4 samples, mean {listed.all('h3')[0].words[-4:]}"
    ]
    whys = {each.one("h2").words: " ".join(each.one("article").words.split()) for each in pages}
    # one of three tests passed: 0.05 + (0.3 - 0.05) / 3 = 0.13
    assert (
        "2 of 3 tests failed, so no teacher was called: the score is between 0.05 and 0.30"
        in whys["0.13"]
    )
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
        [after] = [
            each.attributes["href"]
            for each in shown.all("a")
            if each.attributes.get("rel") == "next"
        ]
        assert f"/samples/{after}" == links(by_score)[1]
        chosen = [
            each.attributes["value"]
            for each in by_score.all("option")
            if "selected" in each.attributes
        ]
        assert chosen == ["lowest", "heuristic", "none"]
        for wrong in (
            "source=all",
            "low=2",
            "low=x",
            "task=zz",
            "after=1",
            "sort=best",
            "page=2",
            "run=%00",
            "language=%00",
        ):
            assert (await http.get(f"/samples?{wrong}")).status_code == 422, wrong


async def test_the_list_goes_on_page_by_page(service, database_url):
    async with service(database_url=database_url) as http:
        for number in range(23):
            await score(
                http,
                {
                    "prompt": f"task {number}",
                    "language": "python",
                    "code": f"x = {number}((",
                    "tests": [],
                },
            )
        for query, sizes in (("", [10, 10, 3]), ("?by=none", [23])):
            path, seen = f"/samples{query}", []
            while path:
                listed = await page(http, path)
                seen.append(links(listed))
                onward = [
                    each.attributes["href"] for each in listed.all("a") if each.words == "Next"
                ]
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
    assert (
        len(links(shown)) == 2 + 1 + 1
    )  # two of the group, the rejected one, and the next one of the list
    assert (
        "1 of 1 judged together" in shown.one("article").words
    )  # that is what the recording teacher says


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
        assert {element.tag for element in each.elements}.isdisjoint(
            {"script", "img", "iframe", "object", "style"}
        )
        assert not any(
            name.startswith("on") for element in each.elements for name in element.attributes
        )
    assert any("⟨U+202E⟩⟨U+0000⟩" in each.one("pre", "code").text for each in pages[1:])
    assert all("because of </pre><script>" in each.one("article").text for each in pages[1:])


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


async def test_an_old_link_to_a_mark_leads_to_its_own_address(service, database_url):
    async with service(database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        dashboard = await page(http, "/")
        [link] = [each for each in links(dashboard) if not each.endswith("#why")]
        answer = await http.get(f"/?since=week&mark={link.removeprefix('/samples/')}")
        assert (answer.status_code, answer.headers["location"]) == (303, link.removeprefix("/"))
        assert "Marked by the teacher" in (await page(http, link)).one("article").words


async def test_rejects_are_not_listed_where_none_are_kept(service, database_url):
    async with service({"store": {"keep_rejects": 0}}, database_url=database_url) as http:
        await score(http, sample(WRONG), sample(RIGHT), sample(BROKEN))
        listed = await page(http, "/samples")
    assert len(links(listed)) == 1
    assert "are not kept" in listed.one("main").words
