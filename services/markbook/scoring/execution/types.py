"""What a sandbox is asked and what it answers: one result a test, never a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

RUNNER_VERSION = 2
"""Part of every verdict's digest: raise it when the same code and tests may get another verdict than before."""


class Verdict(StrEnum):
    """What became of one test."""

    PASSED = "passed"
    FAILED = "failed"
    """A wrong value, an exception, or code that does not even load."""
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CANNOT_RUN = "cannot_run"
    """It needs what the sandbox lacks and CPython has. No failure of the code, and no pass."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test's verdict. `message` says what was expected and got, or why there is no verdict; empty for a pass."""

    __test__ = False  # pytest takes classes named Test* for tests

    verdict: Verdict
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASSED


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sample may use. A test runs the code first, so both count towards its time."""

    test_s: float = 2.0
    """Seconds that code plus one test may take."""
    total_s: float = 5.0
    """Seconds that all tests of a sample may take; those after that are TIMED_OUT without having run."""
    memory_bytes: int = 128 * 1024 * 1024
    recursion_depth: int = 1000


def not_run(total_s: float) -> TestResult:
    """Of a test for which a sample has no time left."""
    return TestResult(Verdict.TIMED_OUT, f"not run: {total_s:g} s are over")


class Sandbox(Protocol):
    """Runs code that nobody trusts. Its methods block: call them on a thread, not on the event loop."""

    @property
    def name(self) -> str:
        """`monty` or `cpython`, for logs and reports."""

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        """One result a test, in order; each test runs after the code and the setup in a session of its own.

        Raises ExecutionUnavailable when the sandbox itself is broken, never because of what the code does.
        """

    def close(self) -> None:
        """End its processes."""
