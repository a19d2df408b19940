"""Types of the sandboxes: one result per test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

RUNNER_VERSION = 2
"""Part of every verdict's digest: increment it when the same code and tests may get a different
verdict.
"""


class Verdict(StrEnum):
    """Outcome of one test."""

    PASSED = "passed"
    FAILED = "failed"
    """A wrong value, an exception, or code that does not load."""
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CANNOT_RUN = "cannot_run"
    """It needs a feature that CPython has and the sandbox lacks. Neither a failure nor a pass."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test's verdict.

    `message`: expected and actual value, or why there is no verdict; empty for a pass.
    """

    __test__ = False  # pytest takes classes named Test* for tests

    verdict: Verdict
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASSED


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits per sample. Each test runs the code first, so both count towards its time."""

    test_s: float = 2.0
    """Seconds for the code plus one test."""
    total_s: float = 5.0
    """Seconds for all tests of a sample; tests after that are TIMED_OUT without being run."""
    memory_bytes: int = 128 * 1024 * 1024
    recursion_depth: int = 1000


def not_run(total_s: float) -> TestResult:
    """The result of a test for which no time is left."""
    return TestResult(
        Verdict.TIMED_OUT, f"not run: the sample's limit of {total_s:g} s was used up"
    )


class Sandbox(Protocol):
    """Runs untrusted code. Methods block: call them from a thread, not on the event loop."""

    @property
    def name(self) -> str:
        """`monty` or `cpython`, for logs and reports."""

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        """One result per test, in order; each test runs in a fresh session, after the code and the
        setup.

        Raises ExecutionUnavailableError when the sandbox itself fails, never for what the code
        does.
        """

    def close(self) -> None:
        """Stop its processes."""
