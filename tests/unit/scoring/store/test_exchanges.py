"""Requests to the teacher and its replies, kept to be shown: what is in them, for whom, and how
long.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from markbook.config.loading import ConfigError, parse_config
from markbook.scoring.store import OWNER, Viewer, WholeSample
from markbook.scoring.types import Exchange
from tests.unit.scoring.book import NOW, count, keep, marked, named, opened
from tests.unit.scoring.store.test_samples import ANN


def exchange(number: int) -> Exchange:
    request = {"model": "m", "messages": [{"role": "user", "content": f"message {number}"}]}
    return Exchange(request, f"1 {number} \N{GREEK SMALL LETTER ALPHA}")


def with_exchange(code: str, number: int):
    return replace(marked(code), exchange=exchange(number))


async def whole(store, code: str, viewer: Viewer = OWNER) -> WholeSample:
    found = await store.whole_samples.get(viewer, named(code).row)
    assert found is not None
    return found


async def test_samples_of_one_request_share_one_exchange(database_url):
    async with opened(database_url, keep_exchanges=9) as store:
        await keep(
            store, with_exchange("a", 1), with_exchange("b", 1), with_exchange("c", 2), marked("d")
        )
        assert await count(store, "exchanges") == 2
        assert [(await whole(store, code)).exchange for code in "abcd"] == [
            exchange(1),
            exchange(1),
            exchange(2),
            None,
        ]


async def test_only_so_many_are_kept_and_none_unless_asked_for(database_url):
    async with opened(database_url, keep_exchanges=2) as store:
        for number, code in enumerate("abc"):
            await keep(store, with_exchange(code, number), at_ms=NOW + number)
        await store.maintenance.run_once(NOW)
        assert [bool((await whole(store, code)).exchange) for code in "abc"] == [False, True, True]
    async with opened(database_url) as store:
        await keep(store, with_exchange("d", 4))
        assert (await whole(store, "d")).exchange is None
        await store.maintenance.run_once(NOW)
        assert await count(store, "exchanges") == 0  # switched off: what was kept goes


async def test_an_exchange_goes_with_the_texts_that_are_in_it(database_url):
    async with opened(database_url, keep_exchanges=9, texts_max_age_ms=10) as store:
        await keep(store, with_exchange("a", 1), at_ms=NOW)
        await keep(store, with_exchange("b", 2), at_ms=NOW + 10)
        await store.maintenance.run_once(NOW + 15)
        assert [bool((await whole(store, code)).exchange) for code in "ab"] == [False, True]


async def test_who_was_given_a_mark_does_not_read_the_samples_that_were_shown_with_it(database_url):
    async with opened(database_url, keep_exchanges=9) as store:
        await keep(store, with_exchange("a", 1), run="team-b/1")
        await keep(store, with_exchange("b", 2), run="team-a/1")
        await store.given.add([named("a").row], "team-a/1")
        assert [(await whole(store, code, ANN)).exchange for code in "ab"] == [None, exchange(2)]
        assert (await whole(store, "a")).exchange == exchange(1)


def test_exchanges_are_refused_where_texts_may_not_be_stored():
    with pytest.raises(ConfigError, match="store_samples"):
        parse_config({"store": {"keep_exchanges": 5, "store_samples": False}})
