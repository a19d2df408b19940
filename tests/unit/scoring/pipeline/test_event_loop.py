"""A request of many samples does not hold the event loop."""

from __future__ import annotations

import asyncio

from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.pipeline.preparation import YIELD_EVERY_CHARS


async def test_between_the_long_samples_of_a_request_others_have_their_turn(service, monkeypatch):
    turns = 0
    seen = []

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def extracted(completion, language):
        seen.append(turns)
        return extract(completion, language)

    monkeypatch.setattr("markbook.scoring.pipeline.preparation.extract", extracted)
    task = "Write add(a, b) that returns the sum of two numbers."
    codes = [f"def add_{n}(a, b):\n    return a + b\n" + "#" * YIELD_EVERY_CHARS for n in range(5)]
    samples = [{"prompt": task, "language": "python", "code": code} for code in codes]
    async with service() as http:
        busy = asyncio.create_task(others())
        answer = await http.post("/score", json={"samples": samples})
        busy.cancel()
    assert answer.status_code == 200
    assert len(set(seen)) == 5
