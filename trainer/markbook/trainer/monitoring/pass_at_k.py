"""pass@k: how likely one of k samples of a task passes all its tests. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from markbook.contract import Result, Scored, Source
from markbook.trainer.types import Task

Counts = Mapping[int, tuple[int, int]]
"""By task: samples that passed every test, and samples that were tested."""


def passed(task: Task, result: Result) -> bool | None:
    """Whether the sample passes all its tests; None where that is not known.

    A sample that the heuristic tier rejected was not run: what does not parse passes no test.
    """
    if not task.tests or not isinstance(result, Scored):
        return None
    if result.tests is None:
        return False if result.source is Source.HEURISTIC else None
    if result.tests.passed < result.tests.total:
        return False
    return None if result.tests.not_run else True


def pass_at_k(counts: Counts, k: int) -> dict[int, float]:
    """The unbiased estimate by task, 1 - C(n - c, k) / C(n, k); tasks with fewer than k tested
    samples are left out.

    Source: equation 1 of "Evaluating Large Language Models Trained on Code"
    (https://arxiv.org/abs/2107.03374).
    """
    return {
        task: 1.0 - math.comb(n - c, k) / math.comb(n, k)
        for task, (c, n) in counts.items()
        if n >= k
    }


def reported_k(samples_per_task: int) -> list[int]:
    """The k worth reporting for so many samples: powers of two up to it, and itself."""
    powers = [
        2**exponent
        for exponent in range(samples_per_task.bit_length())
        if 2**exponent < samples_per_task
    ]
    return [*powers, samples_per_task]
