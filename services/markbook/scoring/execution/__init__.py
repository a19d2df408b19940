"""Runs a sample's tests in a sandbox. Entry point: `open_runner`.

The code under test cannot forge a verdict: values are compared outside its process, on plain copies
(`compare.py`).
"""

from markbook.scoring.execution.cache import MemoryVerdictCache, VerdictCache, verdict_digest
from markbook.scoring.execution.factory import open_runner
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
