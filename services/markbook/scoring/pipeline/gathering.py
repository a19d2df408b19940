"""Gathers samples of one task that arrive in requests of one sample each, so that one teacher call
scores them all.

    sample 1 arrives, its cheaper tiers run ---+
    sample 2 arrives, its cheaper tiers run ---+--> window over, none of them still in a cheaper
    tier --> one group sample 3 arrives, rejected: not waited for +--> or: as many as a group may
    have, a deadline --------> sent at once

What arrives within a window is scored as if it had come in one request. Dynamic batching of
inference servers does the same with a queue delay.

A trainer that sends the samples of several tasks at the same time sends those of one task further
apart than a window: what is between them are samples of other tasks. So a window lasts as long as
its run keeps sending, within two limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakValueDictionary

from markbook.scoring.errors import stopping
from markbook.scoring.fair_queue import Caller
from markbook.scoring.observability.tracing import span
from markbook.scoring.pipeline.group_scorer import PreparedSample
from markbook.scoring.pipeline.request_state import RequestState

MAX_TASK_GAP = 4
"""A window ends this many times `gather_ms` after the last sample of its task, though its run may
keep sending others: what a group that stays incomplete waits at most, once it is as complete as it
gets.
"""
MAX_EXTENSION = 10
"""A window ends this many times `gather_ms` after its first sample, whatever arrives."""
LAST_PASSES = 5
"""Passes of the event loop after a window's end in which what has arrived by then still enters it:
reading a request and starting its tasks takes three. A pass of a busy loop takes milliseconds,
while requests wait in their sockets.
"""


class GroupKey(NamedTuple):
    """What samples must have in common to be gathered: who pays, what the teacher is shown, how
    tests were decided.
    """

    caller: Caller
    prompt: str
    language: str
    tests: tuple[str, ...]
    test_setup: str


@dataclass(slots=True, eq=False, weakref_slot=True)
class Burst:
    """What one caller sends while it has open windows.

    `arrived`: when its newest request of one sample did.
    """

    arrived: float


@dataclass(slots=True, eq=False)
class Window:
    """The samples that arrived within one window.

    `pending`: still in a cheaper tier; `ready`: wait for the others.

    `first` and `arrived`: when the first and the newest sample of its task arrived.
    """

    key: GroupKey
    burst: Burst
    first: float
    arrived: float
    pending: set[Entry] = field(default_factory=set)
    ready: list[Entry] = field(default_factory=list)
    is_over: bool = False
    end: asyncio.Handle | None = None


@dataclass(slots=True, eq=False)
class Entry:
    """One request of one sample.

    `sent`: done once its group is sent; `context`: of the request, for its log lines.
    """

    state: RequestState
    item: PreparedSample
    window: Window
    sent: asyncio.Future[None]
    context: Context
    deadline: asyncio.TimerHandle | None = None


class GroupGatherer:
    """Sends groups of up to `max_size`; `window_s` 0 or a `max_size` of 1: gathers nothing.

    `send` starts the call of one group, in the order in which its samples became ready. `on_waited`
    is called with the seconds that a sample was ready and waited, in the context of its request.
    Times are the event loop's. Not thread-safe.
    """

    def __init__(
        self,
        window_s: float,
        max_size: int,
        send: Callable[[Sequence[Entry]], None],
        on_waited: Callable[[float], None],
    ) -> None:
        self._window_s = window_s if max_size > 1 else 0.0
        self._max_size = max_size
        self._send_group = send
        self._on_waited = on_waited
        self._open: dict[GroupKey, Window] = {}
        self._bursts: WeakValueDictionary[Caller, Burst] = WeakValueDictionary()
        self._waiting: set[Entry] = set()
        self._stopping = False

    @contextmanager
    def expect(
        self, state: RequestState, items: Sequence[PreparedSample]
    ) -> Iterator[Entry | None]:
        """Others that arrive within the window wait for this sample until the context ends or it is
        ready.

        None where nothing is gathered: the request carries several samples, or another one resolves
        its sample.
        """
        if not self._window_s or len(state.items) > 1 or not items:
            yield None
            return
        [item] = items
        window = self._window(
            GroupKey(state.billing.caller, item.prompt, item.language, item.tests, item.test_setup)
        )
        entry = Entry(
            state, item, window, asyncio.get_running_loop().create_future(), copy_context()
        )
        window.pending.add(entry)
        try:
            yield entry
        finally:
            self._leave(entry)

    async def wait(self, entry: Entry, item: PreparedSample) -> None:
        """Returns once the group of `item` is sent. Raises ServiceStoppingError.

        `item`: the sample with the verdict of its tests. It is sent at the request's deadline at
        the latest.
        """
        if self._stopping:
            raise stopping()
        loop, window = asyncio.get_running_loop(), entry.window
        ready_at = loop.time()
        entry.item = item
        window.pending.discard(entry)
        window.ready.append(entry)
        if entry.state.deadline is not None:
            entry.deadline = loop.call_at(entry.state.deadline, self._send, window)
        self._waiting.add(entry)
        self._send_if_complete(window)
        with span("gather"):
            await entry.sent
        self._on_waited(loop.time() - ready_at)

    def stop(self) -> None:
        """Refuse all that wait, and all later ones; no group is sent any more."""
        self._stopping = True
        for entry in self._waiting:
            if not entry.sent.done():
                entry.sent.set_exception(stopping())

    def _window(self, key: GroupKey) -> Window:
        """The open window of `key`, or a new one; notes the arrival of a sample."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        burst = self._bursts.get(key.caller)
        if burst is None:
            burst = self._bursts[key.caller] = Burst(now)
        burst.arrived = now
        window = self._open.get(key)
        if window is None:
            window = self._open[key] = Window(key, burst, now, now)
            window.end = loop.call_at(self._due(window), self._end, window, LAST_PASSES)
        window.arrived = now
        return window

    def _due(self, window: Window) -> float:
        """When `window` ends, unless another request arrives until then."""
        return min(
            window.burst.arrived + self._window_s,
            window.arrived + MAX_TASK_GAP * self._window_s,
            window.first + MAX_EXTENSION * self._window_s,
        )

    def _end(self, window: Window, passes: int) -> None:
        """After `passes` more passes of the event loop, what arrives belongs to the next window."""
        loop, due = asyncio.get_running_loop(), self._due(window)
        if loop.time() < due:
            window.end = loop.call_at(due, self._end, window, LAST_PASSES)
            return
        if passes:
            window.end = loop.call_soon(self._end, window, passes - 1)
            return
        window.is_over = True
        del self._open[window.key]
        self._send_if_complete(window)

    def _leave(self, entry: Entry) -> None:
        """It has been sent, is resolved without the teacher, has failed, or was cancelled."""
        window = entry.window
        window.pending.discard(entry)
        self._waiting.discard(entry)
        if entry in window.ready:
            window.ready.remove(entry)
        if entry.deadline is not None:
            entry.deadline.cancel()
        self._send_if_complete(window)
        if (
            not window.is_over
            and not window.pending
            and not window.ready
            and window.end is not None
        ):
            window.end.cancel()
            del self._open[window.key]
            window.is_over = True

    def _send_if_complete(self, window: Window) -> None:
        if len(window.ready) >= self._max_size or (window.is_over and not window.pending):
            self._send(window)

    def _send(self, window: Window) -> None:
        entries = [
            entry for entry in window.ready if not entry.sent.done()
        ]  # done: cancelled or refused
        window.ready = []
        for entry in entries:
            entry.sent.set_result(None)
        if entries:
            self._send_group(entries)
