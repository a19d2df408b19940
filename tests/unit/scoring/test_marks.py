"""Marks on both databases: first write wins, collisions are misses and lose nothing, age, and what a request costs."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from services.scoring.store import NewMark
from tests.fakes import true_criteria
from tests.unit.scoring.book import NOW, keep, marked, named, opened, statements

FIRST = {"correctness": 0.5, "code_quality": 0.25, "efficiency": 1.0, "documentation": 0.1 + 0.2}
SECOND = {"correctness": 0.1, "code_quality": 0.1, "efficiency": 0.1, "documentation": 0.1}
AGE = 86_400_000
WAY = re.compile(r"\b(marks|claims|texts|tasks|accounts|reservations)\b")
"""The tables on a sample's way. Keys are read, and lines counted and rolled up, for many requests together."""


async def test_a_mark_comes_back_as_it_was_and_the_first_write_wins(database_url):
    name, other = named("code"), named("other")
    async with opened(database_url) as store:
        await keep(store, NewMark(name, FIRST, ["short", "é"], 1, 2))
        await keep(store, NewMark(name, SECOND, [], 2, 2))
        found = await store.marks.get([name, other], NOW)
        assert await store.marks.get([], NOW) == {}
    assert list(found) == [name.digest]
    assert (found[name.digest].criteria, found[name.digest].reasons) == (FIRST, ("short", "é"))


async def test_a_short_hash_collision_is_a_miss_and_both_marks_are_kept(database_url):
    name = named("code")
    forced = replace(named("other"), code_hash=name.code_hash)
    assert forced.key == name.key
    async with opened(database_url) as store:
        await keep(store, NewMark(name, FIRST, [], 1, 1))
        assert await store.marks.get([forced], NOW) == {}
        await keep(store, NewMark(forced, SECOND, [], 1, 1))
        found = await store.marks.get([name, forced], NOW)
    assert (found[name.digest].criteria, found[forced.digest].criteria) == (FIRST, SECOND)


async def test_a_row_of_another_digest_is_never_a_hit(database_url):
    name = named("code")
    forced = replace(name, digest=name.digest[:8] + bytes(24))
    assert forced.row == name.row
    async with opened(database_url) as store:
        await keep(store, NewMark(name, FIRST, [], 1, 1))
        assert await store.marks.get([forced], NOW) == {}


async def test_a_mark_past_its_age_is_a_miss_and_is_replaced(database_url):
    name = named("code")
    async with opened(database_url, max_age_ms=AGE) as store:
        await keep(store, NewMark(name, FIRST, [], 1, 1))
        await keep(store, NewMark(name, SECOND, [], 1, 1), at_ms=NOW + AGE)
        assert (await store.marks.get([name], NOW + AGE))[name.digest].criteria == FIRST
        assert (await store.claims.take([name], NOW + AGE)).marks.keys() == {name.digest}
        assert await store.marks.get([name], NOW + AGE + 1) == {}
        assert (await store.claims.take([name], NOW + AGE + 1)).owned == {name.digest}
        await keep(store, NewMark(name, SECOND, ["new"], 1, 1), at_ms=NOW + AGE + 1)
        found = await store.marks.get([name], NOW + 2 * AGE + 1)
        assert (await store.marks.size())[0] == 1
    assert (found[name.digest].criteria, found[name.digest].reasons) == (SECOND, ("new",))


async def test_the_marks_of_another_rubric_have_its_names(database_url):
    async with opened(database_url) as store:
        store.open("11" * 8, {"rubric": "mine"}, NOW, ["style", "speed"])
        name = replace(named("code"), profile="11" * 8)
        await keep(store, NewMark(name, {"speed": 0.5, "style": 1.0}, [], 1, 1), marked("code"))
        found = await store.marks.get([name], NOW)
        assert (await store.marks.get([named("code")], NOW))[named("code").digest].criteria == true_criteria("code")
    assert found[name.digest].criteria == {"style": 1.0, "speed": 0.5}


@pytest.mark.parametrize("texts", [True, False])
async def test_a_request_is_as_many_statements_however_many_samples(service, database_url, texts):
    """One group of 1, 2 and 64 samples: first asked of the teacher, then out of the book."""
    settings = {
        "rlaif": {"use_tiered_scoring": False},
        "teacher": {"max_group_size": 64},
        "store": {"claim_lease_s": 1000.0, "keep_texts": texts},
    }
    missed, hit = [], []
    async with service(settings, database_url=database_url) as http:
        for size in (1, 2, 64):
            samples = [{"prompt": f"task {size}", "language": "python", "code": f"f({n})"} for n in range(size)]
            for counts, source in ((missed, "teacher"), (hit, "cache")):
                with statements() as sent:
                    answer = (await http.post("/score", json={"samples": samples})).json()
                assert {result["source"] for result in answer["results"]} == {source}
                counts.append(len([each for each in sent if WAY.search(each)]))
    assert missed[0] > 10
    assert missed == missed[:1] * 3
    assert hit == [1, 1, 1]
