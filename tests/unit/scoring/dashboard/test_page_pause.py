"""The page for those who need more time or cannot see charts: reloading can be paused, every
chart has a table.
"""

from __future__ import annotations

import pytest

from markbook.scoring.dashboard.query import PageQuery
from tests.unit.scoring.reading import Page

SAMPLE = {
    "prompt": "Write add(a, b).",
    "language": "python",
    "code": "def add(a, b):\n    return a + b\n",
}


async def shown(http, address: str = "/") -> Page:
    answer = await http.get(address)
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    page.reload = answer.headers.get("refresh")
    return page


def reloads(page: Page) -> bool:
    return page.reload == "30"


def link(page: Page, text: str) -> str:
    [found] = [each.attributes["href"] for each in page.all("a") if each.text == text]
    assert found is not None
    return found.replace(".", "/", 1) if found.startswith(".") else f"/{found}"


async def test_reloading_is_paused_and_resumed_by_links(service):
    async with service() as http:
        await http.post("/score", json={"run": "demo", "samples": [SAMPLE]})
        live = await shown(http)
        paused = await shown(http, link(live, "pause"))
        again = await shown(http, link(paused, "resume"))
    assert [reloads(page) for page in (live, paused, again)] == [True, False, True]
    assert "reloading is paused" in paused.one("nav", "filter").words


async def test_a_pause_lasts_over_other_views(service):
    async with service() as http:
        await http.post("/score", json={"run": "demo", "samples": [SAMPLE]})
        paused = await shown(http, "/?refresh=off")
        week = await shown(http, link(paused, "Week"))
    assert not reloads(week)
    hidden = {
        each.attributes.get("name"): each.attributes.get("value") for each in paused.all("input")
    }
    assert hidden["refresh"] == "off"  # of the search


async def test_anything_else_than_off_is_refused(service):
    async with service() as http:
        assert (await http.get("/", params={"refresh": "on"})).status_code == 422


@pytest.mark.parametrize(
    ("query", "may_reload", "is_live"),
    [
        (PageQuery(), True, True),
        (PageQuery(refresh="off"), True, False),
        (PageQuery(search="x"), False, False),
        (PageQuery(search="x", refresh="off"), False, False),
    ],
)
def test_what_reloads(query, may_reload, is_live):
    assert (query.may_reload, query.is_live) == (may_reload, is_live)


async def test_every_chart_has_its_values_as_a_table(service):
    async with service() as http:
        broken = {**SAMPLE, "code": "def add(a, b:\n"}
        await http.post("/score", json={"run": "demo", "samples": [SAMPLE, broken, SAMPLE]})
        metrics = {"step": 1, "metrics": {"mark": {"value": 0.5}, "pass_at_1": {"value": 0.25}}}
        await http.post("/runs/demo/metrics", json=metrics)
        page = await shown(http)
    charts = page.all("figure", "chart")
    assert len(charts) >= 4
    assert len(page.all("details", "as-table")) == len(charts)
