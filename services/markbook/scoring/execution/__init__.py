"""Runs a sample's tests in a sandbox. `open_runner` gives what the service needs, the rest is how.

A verdict cannot be forged by the code under test: it is decided outside what that code can reach, on plain copies of
the values that it returned (`compare.py`).
"""

from markbook.scoring.execution.cache import MemoryVerdictCache, VerdictCache, verdict_digest
from markbook.scoring.execution.opening import open_runner
from markbook.scoring.execution.runner import TestRunner
from markbook.scoring.execution.types import RUNNER_VERSION, Limits, Sandbox, TestResult, Verdict

__all__ = [
    "RUNNER_VERSION",
    "Limits",
    "MemoryVerdictCache",
    "Sandbox",
    "TestResult",
    "TestRunner",
    "Verdict",
    "VerdictCache",
    "open_runner",
    "verdict_digest",
]
