"""Runs the judge without holding the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.scoring.heuristics.judge import Judgement, judge


class Tier:
    """The heuristic tier as the pipeline uses it."""

    async def judge(self, samples: Sequence[tuple[str, str, str]]) -> list[Judgement]:
        """Judge (code, task, language) samples; the answers keep their order."""
        return [await asyncio.to_thread(judge, *sample) for sample in samples]

    async def close(self) -> None:
        """Stop the worker."""
