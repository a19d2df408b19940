"""What marks cost where tasks have tests, by the share of samples that pass: before, without the
tests, and with them.

The same samples each way. Their tests are run by the service, in its own sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.tested_workload import describe_tested, partly_right
from benchmarks.tokens_measured import BEFORE, HAIKU, OURS, Row, Settings, holds, measure
from benchmarks.workload import ScoredRequest
from markbook.scoring.execution import Limits, open_runner
from markbook.scoring.execution.cpython import bubblewrap_fault
from markbook.scoring.teachers.anthropic.pricing import cost_usd
from tests.emulator.server import Emulator

SHARES = (0.10, 0.40, 0.80)
LEAST_SAVED = {0.40: 0.95}
"""The goals for the input by price, below the baseline, by the share that passes."""

PATIENT = Limits(test_s=20.0, total_s=60.0)
"""None of these samples runs for long: what is late is late because the machine is busy, and
would be another share.
"""
NO_TESTS = {"use_tests": False}
WAYS: dict[str, Settings] = {
    "before": {**BEFORE, "rlaif": {**BEFORE["rlaif"], **NO_TESTS}},
    "ours without tests": {**OURS, "rlaif": NO_TESTS},
    "ours with tests": {
        **OURS,
        "rlaif": {"use_tests": True, "tests_policy": "gate"},
        "execution": {"test_timeout_s": PATIENT.test_s, "sample_timeout_s": PATIENT.total_s},
    },
}


@dataclass(frozen=True)
class Priced:
    """One share of samples that pass, and the ways to mark them, the way with tests last."""

    share: float
    rows: Sequence[Row]

    @property
    def right(self) -> int:
        return self.rows[-1].passed

    def saved(self, row: Row) -> float:
        """Input by price, below before."""
        return 1 - row.input_at_price / self.rows[0].input_at_price


async def price(
    emulator: Emulator, share: float, answers: Sequence[ScoredRequest], **billing: Any
) -> Priced:
    """Raises SystemExit where not exactly the right answers passed: the figures would be of
    another share.
    """
    rows = [
        row
        for name, way in WAYS.items()
        for row in await measure(emulator, way, answers, [name], **billing)
    ]
    with_tests, right = rows[-1], sum(answer.fault is None for answer in answers)
    if with_tests.not_run or with_tests.passed != right:
        raise SystemExit(
            f"{with_tests.passed} samples passed their tests instead of {right}, "
            f"{with_tests.not_run} could not be run"
        )
    return Priced(share, rows)


async def report(
    emulator: Emulator, tell: Callable[[str], None], tasks: int, samples: int, **billing: Any
) -> None:
    """Measure and print, share by share."""
    if fault := bubblewrap_fault():
        tell(
            "left out, as Monty lacks what most of these samples need and CPython cannot run them "
            f"here: {fault}"
        )
        return
    found = []
    for share, answers in workloads(tasks, samples):
        tell(f"{share:.0%} pass: {describe_tested(answers)}")
        found.append(await price(emulator, share, answers, **billing))
    tell("\n".join(["", *table(found), "", *verdicts(found)]))


def workloads(tasks: int, samples: int) -> Iterator[tuple[float, list[ScoredRequest]]]:
    """The samples for each share.

    A sandbox checks while they are made which of the broken ones pass.
    """
    runner = open_runner("on", limits=PATIENT)

    def passes(answer: ScoredRequest) -> bool:
        return all(result.passed for result in runner.run_sync(answer.code, answer.tests))

    try:
        for share in SHARES:
            yield share, partly_right(share, passes, tasks, samples)
    finally:
        runner.close()


def table(found: Sequence[Priced]) -> Iterator[str]:
    """Per sample, but for the dollars."""
    yield (
        "| pass | | calls | input tokens | output tokens | input at its price | below before "
        "| $ / 1,000, Haiku 5.5 | $ / 1,000 right, Haiku 5.5 |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for priced in found:
        for row in priced.rows:
            n, dollars = row.samples, 1000 * cost_usd(row.tokens, HAIKU)
            yield (
                f"| {priced.share:.0%} | {row.name} | {row.calls / n:.2f} | "
                f"{row.tokens.sent / n:,.0f} | {row.tokens.output / n:.1f} | "
                f"{row.input_at_price / n:,.0f} | {priced.saved(row):.1%} | {dollars / n:.4f} | "
                f"{dollars / priced.right:.4f} |"
            )


def verdicts(found: Sequence[Priced]) -> Iterator[str]:
    for priced in found:
        _, without, ours = priced.rows
        saved, asked = priced.saved(ours), LEAST_SAVED.get(priced.share)
        target = f" (at least {asked:.0%}: {holds(saved >= asked)})" if asked is not None else ""
        less = 1 - ours.input_at_price / without.input_at_price
        yield (
            f"{priced.share:.0%} pass: input {saved:.1%} below before by price{target}, "
            f"{less:.1%} below ours without tests, {ours.input_at_price / ours.floor:.2f} x the "
            f"code of those that passed; {ours.rejected} rejected by the tier, {ours.failed} "
            f"failed their tests, {ours.passed} passed"
        )
