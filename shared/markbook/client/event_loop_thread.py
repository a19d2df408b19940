"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for any number of threads.

    It ends with `close()`; a process may end without that.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work`. Cancelling the future cancels it. Raises RuntimeError after `close()`."""
        with self._lock:  # what starts after the last task was cancelled would never end
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise RuntimeError("this client is closed: open another one")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Start `work` and wait for it.

        Whatever ends the wait, such as Ctrl-C, cancels the work.
        """
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Cancel what still runs, await `cleanup` in the loop, and end the thread.

        Again: nothing.
        """
        with self._lock:
            closed, self._closed = self._closed, True
        if closed:
            self._thread.join()  # another thread is closing it
            return
        try:
            asyncio.run_coroutine_threadsafe(_end(cleanup), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _end(cleanup: Callable[[], Awaitable[None]]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await cleanup()
