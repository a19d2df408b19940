"""An explanation whose process died is offered again, on both databases."""

from __future__ import annotations

from markbook.scoring.store import Store
from tests.unit.scoring.dashboard.test_samples_page import explaining, links, page, score
from tests.unit.scoring.pipeline.test_tests_tier import RIGHT, sample

__all__ = ["explaining"]


async def test_an_explanation_whose_process_died_can_be_asked_for_again(
    service, explaining, clock, database_url
):
    async with service(by=explaining, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        [link] = links(await page(http, "/samples"))
        stale_ms = http._transport.app.state.markbook.explainer.stale_ms
        dead = Store(database_url, 1_000)
        row = bytes.fromhex(link.removeprefix("/samples/").partition("?")[0])
        at_ms = clock()
        assert await dead.explanations.acquire(row, "demo", "recording-1", at_ms, stale_ms)
        await dead.close()

        clock.now_ms = at_ms + stale_ms - 100
        waiting = await page(http, link)
        assert "has been asked at" in waiting.one("article").words
        assert waiting.all("form", "explain") == []

        clock.now_ms = at_ms + stale_ms
        offered = await page(http, link)
        assert "has been asked at" not in offered.one("article").words
        assert "Asks recording-1 once. It costs " in offered.one("form", "explain").words
        assert (await http.post(link)).status_code == 303
        assert "because of" in (await page(http, link)).one("article").words
    assert [group.explain for group in explaining.groups] == [False, True]
