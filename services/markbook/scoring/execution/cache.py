"""Caches verdicts, so that the same code is not run against the same tests twice."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from markbook.scoring.execution.types import RUNNER_VERSION, TestResult


class VerdictCache(Protocol):
    """Verdicts by the digest of everything that they depend on. May evict entries."""

    async def get(self, digest: bytes) -> tuple[TestResult, ...] | None: ...

    async def put(self, digest: bytes, results: tuple[TestResult, ...]) -> None: ...


class MemoryVerdictCache:
    """An LRU cache in memory: at most `max_results` test results, about 100 bytes each."""

    def __init__(self, max_results: int = 200_000) -> None:
        self._max_results = max_results
        self._results = 0
        self._entries: OrderedDict[bytes, tuple[TestResult, ...]] = OrderedDict()

    async def get(self, digest: bytes) -> tuple[TestResult, ...] | None:
        results = self._entries.get(digest)
        if results is not None:
            self._entries.move_to_end(digest)
        return results

    async def put(self, digest: bytes, results: tuple[TestResult, ...]) -> None:
        self._results += len(results) - len(self._entries.pop(digest, ()))
        self._entries[digest] = results
        while self._results > self._max_results:
            _, oldest = self._entries.popitem(last=False)
            self._results -= len(oldest)


def verdict_digest(code: str, tests: Sequence[str], setup: str, identity: str) -> bytes:
    """`identity` names sandboxes, versions and limits, since another sandbox may reach another
    verdict.
    """
    digest = hashlib.sha256()
    for part in (str(RUNNER_VERSION), identity, code, setup, *tests):
        data = part.encode()
        digest.update(
            len(data).to_bytes(8, "big") + data
        )  # the length distinguishes ("ab", "c") from ("a", "bc")
    return digest.digest()
