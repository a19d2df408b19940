"""Which stored marks a filter lets through: run, time and profile, on both databases, in more
than one batch.
"""

from __future__ import annotations

import pytest

from markbook.scoring.fingerprint import fingerprint
from markbook.scoring.store import MarkFilter, NewMark
from tests.fakes import true_criteria
from tests.unit.scoring.book import NOW, PROFILE, keep, marked, opened

OTHER = "11" * 8


@pytest.fixture
async def store(database_url):
    async with opened(database_url) as opened_store:
        await keep(opened_store, marked("a"), marked("b"), at_ms=NOW, run="one")
        await keep(opened_store, marked("c"), at_ms=NOW + 10, run="two")
        opened_store.marks.register_profile(OTHER, list(true_criteria("d")))
        foreign = NewMark(fingerprint(OTHER, "task", "d", "python"), true_criteria("d"), [], 1, 1)
        await keep(opened_store, foreign, at_ms=NOW, run="one")
        yield opened_store


def codes(store, **chosen: object) -> list[str]:
    found = store.records.matching(PROFILE, MarkFilter(**chosen), batch=1)
    return sorted(each.mark.texts.code for each in found)


async def test_of_one_profile_all_are_found_batch_after_batch(store):
    assert codes(store) == ["a", "b", "c"]


async def test_of_the_run_that_paid_or_was_given_it(store):
    assert codes(store, run="one") == ["a", "b"]
    assert codes(store, run="three") == []
    await store.given.add([marked("c").fingerprint.row], "one")
    assert codes(store, run="one") == ["a", "b", "c"]


async def test_from_a_time_on_and_before_another(store):
    assert codes(store, since_ms=NOW + 10) == ["c"]
    assert codes(store, since_ms=NOW + 11) == []
    assert codes(store, until_ms=NOW + 10) == ["a", "b"]
    assert codes(store, since_ms=NOW, until_ms=NOW + 11) == ["a", "b", "c"]
