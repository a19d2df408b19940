"""Awaiting several tasks such that the failure of one loses no result of another (a TaskGroup
would cancel them).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all of `work`, once all have ended: a failure must not lose what another one
    paid for.

    Raises the first failure; the others are retrieved, so that asyncio does not log them.
    """
    return raise_first(await results_of_all(work))


async def results_of_all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """As `gather_all`, but returns exceptions in the place of results instead of raising the
    first.
    """
    tasks = [asyncio.create_task(each) for each in work]
    await wait_ended(tasks)
    return [
        asyncio.CancelledError() if task.cancelled() else task.exception() or task.result()
        for task in tasks
    ]


def raise_first(results: Sequence[T | BaseException]) -> list[T]:
    """The results; raises the first exception among them."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def wait_ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until all have ended. If cancelled, cancels them and waits for their end."""
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
    """Wait until all have ended or the event loop's clock reaches `due`.

    They are never cancelled by it.
    """
    if pending := [future for future in futures if not future.done()]:
        timeout = None if due is None else due - asyncio.get_running_loop().time()
        await asyncio.wait(pending, timeout=timeout)
