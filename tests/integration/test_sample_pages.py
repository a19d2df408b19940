"""The page of a mark that Claude's emulator made, over real HTTP: the exact prompt and reply,
and an explanation.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from markbook.scoring.prompts.prompt import system_text
from markbook.scoring.prompts.rubric import load_rubric
from tests.unit.scoring.dashboard.test_samples_page import links, page, score

SAMPLES = [
    {"prompt": "Write f.", "language": "python", "code": f"def f():\n    return {number}"}
    for number in range(3)
]


@pytest.mark.parametrize("keeps", [True, False])
async def test_the_page_of_a_mark_has_the_exact_prompt_and_reply(
    service, emulator, monkeypatch, keeps
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key-that-is-secret")
    settings = {
        "teacher": {"name": "anthropic", "base_url": emulator.url},
        "store": {"keep_exchanges": 5 if keeps else 0},
    }
    async with service(settings, by=None) as http:
        await score(http, *SAMPLES)
        shown = await page(http, links(await page(http, "/samples"))[0])
    [entry] = emulator.log
    if not keeps:
        assert shown.all("details", "exchange") == []
        assert "store.keep_exchanges" in shown.one("main").words
        return
    texts = [each.text.removeprefix("\n") for each in shown.all("pre")[2:]]
    assert texts[0] == system_text(load_rubric(), explain=False)
    assert texts[1] == entry.body["messages"][0]["content"]
    assert len(texts[2].splitlines()) == 3  # a line per sample
    assert '"max_tokens"' in shown.one("details", "exchange").text
    assert "test-key" not in json.dumps([each.text for each in shown.elements])
    assert "uthorization" not in shown.one("details", "exchange").text


async def test_an_explanation_is_asked_for_with_the_reasons_on_and_costs_what_was_said(
    service, emulator, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    settings = {"teacher": {"name": "anthropic", "base_url": emulator.url}}
    async with service(settings, by=None) as http:
        await score(http, *SAMPLES)
        [link, *_] = links(await page(http, "/samples"))
        form = (await page(http, link)).one("form", "explain").words
        before = (await http.get("/stats")).json()["totals"]
        assert {
            answer.status_code for answer in await asyncio.gather(http.post(link), http.post(link))
        } == {303}
        after = (await http.get("/stats")).json()["totals"]
        shown = await page(http, link)
    assert [entry.body["system"][0]["text"] for entry in emulator.log] == [
        system_text(load_rubric(), explain=False),
        system_text(load_rubric(), explain=True),
    ]
    assert len(emulator.log[1].codes) == 1
    least, most = (
        float(word.removeprefix("$").rstrip(",")) for word in form.split() if word.startswith("$")
    )
    assert least <= after["cost_usd"] - before["cost_usd"] <= most
    assert after["samples"] == before["samples"]
    assert "asked to explain at" in shown.one("article").words
