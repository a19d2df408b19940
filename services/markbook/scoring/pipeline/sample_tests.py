"""Summaries of a sample's test results. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markbook.contract import SampleTests
from markbook.scoring.execution import TestResult, Verdict
from markbook.scoring.types import CORRECTNESS

MAX_FAILURE_CHARS = 400


def summarized(tests: Sequence[str], results: Sequence[TestResult]) -> SampleTests:
    """As it goes over the wire. A test that ran out of time or memory has failed."""
    failures = [
        f"{test.strip()}: {result.message}"
        for test, result in zip(tests, results, strict=True)
        if result.verdict not in (Verdict.PASSED, Verdict.CANNOT_RUN)
    ]
    not_run = sum(result.verdict is Verdict.CANNOT_RUN for result in results)
    return SampleTests(
        passed=len(results) - not_run - len(failures),
        total=len(results) - not_run,
        not_run=not_run,
        first_failure=_shortened(failures[0]) if failures else None,
    )


def share_passed(verdict: SampleTests) -> float | None:
    """Of the tests that ran; None where none failed and some were not run, so that nothing is
    shown.
    """
    if verdict.passed < verdict.total:
        return verdict.passed / verdict.total
    return None if verdict.not_run else 1.0


def all_passed(verdict: SampleTests | None) -> bool | None:
    """Whether the tests showed that the sample is right; None where there were none, or they
    showed nothing.
    """
    share = None if verdict is None else share_passed(verdict)
    return None if share is None else share == 1


def with_verdict(criteria: Mapping[str, float], verdict: SampleTests | None) -> Mapping[str, float]:
    """The teacher's criteria with the correctness that the tests have shown; the store keeps the
    teacher's own.
    """
    if verdict is None or CORRECTNESS not in criteria or (share := share_passed(verdict)) is None:
        return criteria
    return {**criteria, CORRECTNESS: share}


def _shortened(text: str) -> str:
    """Without what a database does not take, and no longer than anybody reads."""
    text = text.replace("\x00", "\\x00").encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_FAILURE_CHARS else f"{text[: MAX_FAILURE_CHARS - 3]}..."
