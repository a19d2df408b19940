"""Waiting for several pieces of work such that none is lost when another fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all of `work`, once all have ended: one that fails must not lose what another paid for.

    Raises the first failure; the others are fetched, so that none is reported once more as never retrieved.
    """
    return raise_first(await results_of_all(work))


async def results_of_all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """As `gather_all`, but what each piece that failed has raised stands in its place, for the caller to tell apart."""
    tasks = [asyncio.create_task(each) for each in work]
    await wait_ended(tasks)
    return [asyncio.CancelledError() if task.cancelled() else task.exception() or task.result() for task in tasks]


def raise_first(results: Sequence[T | BaseException]) -> list[T]:
    """The results, unless one of them is a failure: that is raised."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def wait_ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
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


async def until_done(futures: Iterable[asyncio.Future[Any]], due: float | None) -> None:
    """Until all have ended, or until the event loop's clock says `due`. They go on, whatever becomes of the caller."""
    if going := [future for future in futures if not future.done()]:
        timeout = None if due is None else due - asyncio.get_running_loop().time()
        await asyncio.wait(going, timeout=timeout)
