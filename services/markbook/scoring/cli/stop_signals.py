"""SIGTERM ends a command as Ctrl-C does: calls in progress are paid for, so their marks are
stored first.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the context SIGTERM raises KeyboardInterrupt. Main thread only."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, where SIGTERM cancels `work` as Ctrl-C does.

    Raises KeyboardInterrupt for either.

    Main thread only. A second SIGTERM is ignored: it would cut off what the first one began, and
    leave reservations.
    """

    async def watched() -> T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        stop = _Once(task)
        loop.add_signal_handler(signal.SIGTERM, stop)
        return await work

    before = signal.getsignal(signal.SIGTERM)
    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:  # closing the loop resets the handler to the default, whatever it was before
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class _Once:
    """Cancels a task at the first call."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task: asyncio.Task[Any] | None = task

    def __call__(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
