"""Explanations on both databases: who makes the call, and that they go with the samples they are
of.
"""

from __future__ import annotations

import pytest

from markbook.scoring.store import OWNER, Store
from tests.unit.scoring.book import NOW, keep, marked, named, opened
from tests.unit.scoring.store.test_samples import reject, rejected

STALE_MS = 1_000


async def explain(store: Store, code: str, *, is_done: bool = True) -> None:
    row = named(code).row
    assert await store.explanations.acquire(row, "demo", "m", NOW, STALE_MS)
    if is_done:
        await store.explanations.record(row, [f"because of {code}"], {"correctness": 0.5}, NOW)


async def explained(store: Store, *codes: str) -> set[str]:
    """Those of the codes that have an explanation, or a call for one."""
    found = set()
    for code in codes:
        if not await store.explanations.acquire(named(code).row, "other", "m", NOW, STALE_MS):
            found.add(code)
    return found


async def test_the_explanation_of_a_mark_goes_with_it(database_url):
    async with opened(database_url, max_entries=1) as store:
        for number, code in enumerate("abc"):
            await keep(store, marked(code), at_ms=NOW + 5_000 * number)
            await explain(store, code)
        await store.maintenance.run_once(NOW)
        assert await explained(store, *"abc") == {"c"}


async def test_the_explanation_of_a_reject_goes_with_it_and_a_call_in_progress_stays(database_url):
    async with opened(database_url, keep_rejects=1) as store:
        for number, code in enumerate(("told", "asked", "new")):
            await reject(store, rejected(code, at_ms=NOW + number))
            await explain(store, code, is_done=code != "asked")
        await store.maintenance.run_once(NOW)
        assert await explained(store, "told", "asked", "new") == {"asked", "new"}
        whole = await store.whole_samples.get(OWNER, named("new").row)
        assert whole is not None
        assert whole.explanation is not None
        assert whole.explanation.reasons == ("because of new",)


async def test_the_explanation_of_a_reject_that_was_marked_since_stays(database_url):
    async with opened(database_url, keep_rejects=0) as store:
        await reject(store, rejected("both"))
        await explain(store, "both")
        await keep(store, marked("both"))
        await store.maintenance.run_once(NOW)
        assert await explained(store, "both") == {"both"}


@pytest.mark.parametrize(("later_ms", "may"), [(STALE_MS, False), (STALE_MS + 1, True)])
async def test_both_sides_of_the_time_after_which_a_call_counts_as_cut_off(
    database_url, later_ms, may
):
    async with opened(database_url) as store:
        await explain(store, "code", is_done=False)
        mine = await store.explanations.acquire(
            named("code").row, "demo", "m", NOW + later_ms, STALE_MS
        )
        assert mine is may
