"""The first line of the dashboard on both databases: cost, mean mark, the latest mark, and why
one was rejected.
"""

from __future__ import annotations

import pytest

from markbook.config.settings import Budget
from markbook.scoring.pipeline.sample_weights import sample_weights
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import ApiKey, Viewer
from markbook.scoring.teachers.static import StaticTeacher
from tests.fakes import true_score
from tests.unit.scoring.book import PROFILE
from tests.unit.scoring.dashboard.test_page import CODE, named, score, shown
from tests.unit.scoring.pipeline.test_tests_tier import BROKEN
from tests.unit.scoring.reading import Page
from tests.unit.scoring.store.test_samples import keep, marked, opened, reject, rejected


def facts(page: Page) -> dict[str, str]:
    """What each says, by its name."""
    names = ("Spent", "Mean mark", "Latest mark", "Latest rejected")
    words = [each.words for each in page.all("li")[: len(names)]]
    return {
        name: line.removeprefix(name).strip()
        for name in names
        for line in words
        if line.startswith(name)
    }


async def test_it_says_the_cost_the_mean_a_mark_and_why_one_was_rejected(
    service, clock, database_url
):
    async with service(database_url=database_url) as http:
        await score(http, CODE, named("plus"))  # 200 in, 20 out, $0.0003
        clock.now_ms += 120_000
        await score(http, named("minus"), run="other")
        await score(http, BROKEN, run="other")
        page, demo = await shown(http), await shown(http, run="demo")
        links = [each.attributes["href"] for each in page.all("a", "value")]
        why = Page((await http.get(f"/{links[1].removesuffix('#why')}")).text).one("article").words
    # recording-1 gives each code marks of its own; the reject has 0.02
    marks = [true_score(code) for code in (CODE, named("plus"), named("minus"))]
    first, last = sum(marks[:2]) / 2, (marks[2] + 0.02) / 2
    found = facts(page)
    assert found["Spent"] == "$0.00045 $0.1125 per 1,000 samples"
    assert (
        found["Mean mark"]
        == f"{(sum(marks) + 0.02) / 4:.2f} {first:.2f} at first, {last:.2f} at last"
    )
    assert found["Latest mark"] == f"{marks[2]:.2f} def minus(a, b):"
    assert found["Latest rejected"] == "0.02 A bracket is never closed."
    assert "A bracket is never closed." in why
    assert facts(demo).keys() == {"Spent", "Mean mark", "Latest mark"}
    assert f"run={'demo'}" in demo.one("a", "value").attributes["href"]


async def test_with_the_stand_in_nothing_was_spent(service):
    async with service(by=StaticTeacher()) as http:
        await score(http, CODE)
        page = await shown(http)
    assert facts(page)["Spent"] == "nothing the stub is free"


async def test_without_texts_there_is_no_line_of_code(service):
    async with service({"store": {"store_samples": False}}) as http:
        await score(http, CODE)
        page = await shown(http)
    assert facts(page)["Latest mark"].endswith("text not stored")


@pytest.mark.parametrize("run", [None, "team-a/1"])
async def test_a_key_for_some_runs_sees_the_newest_of_these(database_url, run):
    ann = Viewer(ApiKey("ann", b"", "team-a/*", Budget(), 1))
    async with opened(database_url) as store:
        store.marks.weights = sample_weights(PROFILE, load_rubric())
        await keep(store, marked("mine"), run="team-a/1", at_ms=5)
        await keep(store, marked("theirs"), run="team-b/1", at_ms=9)
        await reject(store, rejected("my reject", run="team-a/1", at_ms=4))
        await reject(store, rejected("their reject", run="team-b/1", at_ms=8))
        found = await store.samples.newest(ann, run)
        none = await store.samples.newest(ann, "team-a/2")
    assert found.marked is not None
    assert found.marked.first_line == "mine"
    assert found.rejected is not None
    assert found.rejected.first_line == "my reject"
    assert (none.marked, none.rejected) == (None, None)
