"""One leader a key; everyone gets what the leader got."""

from __future__ import annotations

import asyncio

import pytest

from markbook.scoring.pipeline.single_flight import SingleFlight


async def test_the_first_leads_and_the_others_wait():
    flights: SingleFlight[str, int] = SingleFlight()
    first, leading = flights.claim(["a", "b", "a"])
    second, waiting = flights.claim(["b", "c"])
    assert (leading, waiting) == (["a", "b"], ["c"])
    flights.resolve("b", 2)
    assert await first["b"] == await second["b"] == 2
    assert flights.claim(["b"])[1] == ["b"]


async def test_a_crash_reaches_all_who_wait_and_leaves_no_claim():
    flights: SingleFlight[str, int] = SingleFlight()
    first, leading = flights.claim(["a", "b"])
    second, _ = flights.claim(["a"])
    flights.resolve("b", 2)
    flights.fail(leading, RuntimeError("gone"))
    assert await first["b"] == 2
    for future in (first["a"], second["a"]):
        with pytest.raises(RuntimeError, match="gone"):
            await future
    assert len(flights) == 0


async def test_a_waiter_that_goes_away_leaves_the_flight_alone():
    flights: SingleFlight[str, int] = SingleFlight()
    mine, _ = flights.claim(["a"])
    theirs, _ = flights.claim(["a"])
    waiter = asyncio.create_task(asyncio.wait_for(asyncio.shield(theirs["a"]), None))
    await asyncio.sleep(0)
    waiter.cancel()
    flights.resolve("a", 1)
    assert await mine["a"] == 1
