"""Prompt-cache accounting: a floor, writes, reads that renew, a life, and no entry before an
answer has begun.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

LIFE_S = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True)
class Segment:
    """A block of the prompt: its text, its tokens, and the life asked for when a breakpoint
    follows it.
    """

    text: str
    tokens: int
    ttl: Literal["5m", "1h"] | None = None


@dataclass(frozen=True)
class Split:
    """How the input tokens of one request are billed, and the entries that its answer will make
    or renew.
    """

    input: int
    read: int
    write_5m: int
    write_1h: int
    entries: tuple[tuple[str, str], ...] = ()


class PromptCache:
    """Entries of one organisation: the hash of a prefix -> when it ends. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def split(self, scope: str, segments: Sequence[Segment], floor: int) -> Split:
        """What a request that begins now reads and writes.

        `scope`: whatever else the prefix depends on.
        """
        digest = hashlib.sha256(scope.encode())
        total = read = 0
        marks: list[tuple[int, str, str]] = []
        for segment in segments:
            digest.update(b"\0" + segment.text.encode())
            total += segment.tokens
            if segment.ttl and total >= floor:
                key = digest.hexdigest()
                marks.append((total, key, segment.ttl))
                if self._ends.get(key, 0.0) > self._clock():
                    read = total
        written = {"5m": 0, "1h": 0}
        done = read
        for upto, _, ttl in marks:
            written[ttl] += max(0, upto - done)
            done = max(done, upto)
        entries = tuple((key, ttl) for _, key, ttl in marks)
        return Split(total - done, read, written["5m"], written["1h"], entries)

    def begun(self, split: Split) -> None:
        """The answer has begun: from now on its prefixes can be read."""
        for key, ttl in split.entries:
            self._ends[key] = self._clock() + LIFE_S[ttl]

    def clear(self) -> None:
        self._ends.clear()
