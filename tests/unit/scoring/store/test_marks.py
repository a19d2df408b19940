"""Marks on both databases: first write wins, collisions are misses and lose nothing, age, and
what a request costs.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from markbook.scoring.store import OWNER, CallContext, ClaimConflictError, NewMark
from markbook.scoring.types import TeacherCall
from tests.fakes import true_criteria
from tests.unit.scoring.book import GROUP, NOW, commits, keep, marked, named, opened, statements

FIRST = {"correctness": 0.5, "code_quality": 0.25, "efficiency": 1.0, "documentation": 0.1 + 0.2}
SECOND = {"correctness": 0.1, "code_quality": 0.1, "efficiency": 0.1, "documentation": 0.1}
AGE = 86_400_000
WAY = re.compile(r"\b(marks|claims|texts|tasks|budget_balances|reservations)\b")
LEDGER = re.compile(r"\bledger_\w+\b")
"""The tables on a sample's way.

Keys are read, and lines of hits written, for many requests together.
"""


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
    name, purpose = named("code"), CallContext("run", GROUP, 1)
    async with opened(database_url, max_age_ms=AGE) as store:
        await keep(store, NewMark(name, FIRST, [], 1, 1))
        await keep(store, NewMark(name, SECOND, [], 1, 1), at_ms=NOW + AGE)
        assert (await store.marks.get([name], NOW + AGE))[name.digest].criteria == FIRST
        with pytest.raises(ClaimConflictError):
            await store.reserve([name], purpose, TeacherCall("m", "reserved"), {}, NOW + AGE)
        assert await store.marks.get([name], NOW + AGE + 1) == {}
        await store.reserve([name], purpose, TeacherCall("m", "reserved"), {}, NOW + AGE + 1)
        await keep(store, NewMark(name, SECOND, ["new"], 1, 1), at_ms=NOW + AGE + 1)
        found = await store.marks.get([name], NOW + 2 * AGE + 1)
        assert (await store.marks.size(OWNER))[0] == 1
    assert (found[name.digest].criteria, found[name.digest].reasons) == (SECOND, ("new",))


async def test_the_marks_of_another_rubric_have_its_names(database_url):
    async with opened(database_url) as store:
        store.open("11" * 8, {"rubric": "mine"}, NOW, ["style", "speed"])
        name = replace(named("code"), profile="11" * 8)
        await keep(store, NewMark(name, {"speed": 0.5, "style": 1.0}, [], 1, 1), marked("code"))
        found = await store.marks.get([name], NOW)
        assert (await store.marks.get([named("code")], NOW))[
            named("code").digest
        ].criteria == true_criteria("code")
    assert found[name.digest].criteria == {"style": 1.0, "speed": 0.5}


@pytest.mark.parametrize("texts", [True, False])
async def test_a_request_is_as_many_statements_however_many_samples(
    service, database_url, texts, monkeypatch
):
    """One group of 1, 2 and 64 samples: first asked of the teacher, then out of the book."""
    monkeypatch.setattr("markbook.scoring.lifespan.NOTE_S", 3600.0)
    settings = {
        "rlaif": {"use_tiered_scoring": False},
        "teacher": {"max_group_size": 64},
        "store": {"claim_lease_s": 1000.0, "store_samples": texts},
    }
    missed, hit = [], []
    async with service(settings, database_url=database_url) as http:
        for size in (1, 2, 64):
            samples = [
                {"prompt": f"task {size}", "language": "python", "code": f"f({n})"}
                for n in range(size)
            ]
            for counts, source in ((missed, "teacher"), (hit, "cache")):
                await http.get("/stats")  # no line of the last request waits to be written
                with statements() as sent, commits() as ended:
                    answer = (await http.post("/score", json={"samples": samples})).json()
                assert {result["source"] for result in answer["results"]} == {source}
                way, ledger = (
                    len([each for each in sent if tables.search(each)]) for tables in (WAY, LEDGER)
                )
                counts.append((way, ledger, len(ended)))
    # a look; claims, marks, balances, reservation; (on Postgres a lock,) marks, texts, tasks,
    # claims, reservation, balances. The call, the line of the request, and the sums of both are
    # written with the second half of these.
    assert missed == [(9 + 2 * texts + ("postgres" in database_url), 3, 2)] * 3
    assert [way for way, _, _ in hit] == [1] * 3
