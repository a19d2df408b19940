"""Waiting for several pieces of work such that none is lost when another fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all of `work`, once all have ended: one that fails must not lose what another paid for."""
    tasks = [asyncio.create_task(each) for each in work]
    await end_of(tasks)
    return [task.result() for task in tasks]


async def end_of(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Until all have ended, in whatever way. Cancelled, it cancels them, and still sees them end."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
