"""Turns: how many requests are worked on at the same time, and who is next. Runs that wait take turns."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from markbook.scoring.errors import MarkbookError, TooManyRequests, stopping

MOST_RETRY_AFTER_S = 60
_MEMORY = 0.1  # weight of the newest request in the mean of how long one takes


class Turns:
    """`places` requests at a time; `line` more wait, one of each run after the other, however many a run sends.

    A full line belongs to all: a newcomer whose run waits less than another takes the place of that run's last, who is
    refused instead. Not safe across threads.
    """

    def __init__(self, places: int, line: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._line = line
        self._clock = clock
        self._taken = self._waiting = 0
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._mean_s = 0.0
        self._stopping = False

    async def take(self, run: str) -> float:
        """A place, to be given back by `leave` with the value that this returns.

        Raises TooManyRequests when the line is full, ServiceStopping when nobody's turn comes any more.
        """
        if self._stopping:
            raise stopping()
        if self._taken < self._places:
            self._taken += 1
            return self._clock()
        turn = self._join(run)
        try:
            await turn
        except asyncio.CancelledError:
            self._give_up(run, turn)
            raise
        return self._clock()

    def leave(self, since: float) -> None:
        """Give the place to the next run's first."""
        self._mean_s += _MEMORY * (self._clock() - since - self._mean_s)
        while self._lines:
            turn = self._next()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    def stop(self) -> None:
        """Let nobody in any more, and send those who wait away."""
        self._stopping = True
        for line in self._lines.values():
            for turn in line:
                _refuse(turn, stopping())
        self._lines.clear()
        self._waiting = 0

    def _join(self, run: str) -> asyncio.Future[None]:
        turn = asyncio.get_running_loop().create_future()
        if self._waiting >= self._line:
            self._make_room(run)
        self._lines.setdefault(run, deque()).append(turn)
        self._waiting += 1
        return turn

    def _next(self) -> asyncio.Future[None]:
        run, line = next(iter(self._lines.items()))
        turn = line.popleft()
        self._waiting -= 1
        if line:
            self._lines.move_to_end(run)
        else:
            del self._lines[run]
        return turn

    def _make_room(self, run: str) -> None:
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=run)
        if longest == run or len(self._lines[longest]) <= len(self._lines.get(run, ())) + 1:
            raise self._refusal()
        _refuse(self._lines[longest].pop(), self._refusal())
        self._waiting -= 1

    def _give_up(self, run: str, turn: asyncio.Future[None]) -> None:
        """A caller that goes away leaves the line, or hands on the place that it has just got."""
        line = self._lines.get(run, deque())
        if turn in line:
            line.remove(turn)
            self._waiting -= 1
            if not line:
                del self._lines[run]
        elif not turn.cancelled() and turn.exception() is None:
            self.leave(self._clock())

    def _refusal(self) -> TooManyRequests:
        wait_s = math.ceil(self._waiting * self._mean_s / self._places)
        return TooManyRequests(
            f"{self._taken} requests are being worked on and {self._waiting} wait: ask again later",
            retry_after_s=min(max(wait_s, 1), MOST_RETRY_AFTER_S),
        )


class AdmissionController:
    """The turns of each API key by themselves, and of all together where there are no keys."""

    def __init__(self, places: int, line: int) -> None:
        self._size = places, line
        self._turns: dict[str | None, Turns] = {}
        self._stopping = False

    def of(self, key: str | None) -> Turns:
        turns = self._turns.get(key)
        if turns is None:
            turns = self._turns[key] = Turns(*self._size)
            if self._stopping:
                turns.stop()
        return turns

    def stop(self) -> None:
        self._stopping = True
        for turns in self._turns.values():
            turns.stop()


def _refuse(turn: asyncio.Future[None], error: MarkbookError) -> None:
    if not turn.done():  # one that was cancelled has not left the line yet
        turn.set_exception(error)
