"""The tasks of a step: every task once per epoch, or more often those at the frontier of what is
learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from markbook.config.settings import Training
from markbook.trainer.data.tasks import batches
from markbook.trainer.types import Task

MIXED, UNSEEN, SETTLED = 4.0, 2.0, 0.5
"""Weights of a task by its last group: both passes and failures; none drawn yet; all passed or all
failed. Settled tasks keep an eighth of a mixed one's chance: what failed in every sample before may
pass now and then later.
"""
_REPLACEMENT = 1
"""Apart from the seeds of the steps' own tasks."""


class TaskSampler:
    """Draws the tasks of each step.

    What a step draws depends on the seed, the step and `outcomes` alone.

    `outcomes`: by task, the samples of its last group that passed all tests, and those tested. It
    is the caller's, who keeps it up to date and saves it: a resumed run draws what the unbroken one
    would have.
    """

    def __init__(
        self, tasks: Sequence[Task], training: Training, outcomes: Mapping[int, tuple[int, int]]
    ) -> None:
        self._tasks, self._training, self._outcomes = tasks, training, outcomes
        self._order = batches(tasks, training.prompts_per_step, training.seed)
        self._drawn = 0

    def step(self, step: int) -> list[Task]:
        """The tasks of `step`, counted from 1; steps are asked for in ascending order."""
        if self._training.task_sampling == "frontier":
            return self._weighted(self._training.prompts_per_step, (step,), frozenset())
        [batch] = islice(self._order, step - 1 - self._drawn, step - self._drawn)
        self._drawn = step
        return batch

    def replacements(self, count: int, step: int, round_: int, drawn: frozenset[int]) -> list[Task]:
        """Up to `count` tasks for groups without differences in `step`; none of `drawn`, the
        tasks it had already.
        """
        return self._weighted(count, (step, _REPLACEMENT, round_), drawn)

    def _weighted(self, count: int, stream: tuple[int, ...], without: frozenset[int]) -> list[Task]:
        left = [task for task in self._tasks if task.index not in without]
        if not left:
            return []
        weights = np.array([self._weight(task) for task in left])
        generator = np.random.default_rng((self._training.seed, *stream))
        # more than there are tasks: each of them once, and so on
        size = min(count, len(left))
        places = generator.choice(len(left), size=size, replace=False, p=weights / weights.sum())
        chosen = [left[place] for place in places]
        return (
            chosen
            if size == count or without
            else [*chosen, *self._weighted(count - size, (*stream, 0), without)]
        )

    def _weight(self, task: Task) -> float:
        if self._training.task_sampling == "uniform":
            return 1.0
        if task.index not in self._outcomes:
            return UNSEEN
        passed, tested = self._outcomes[task.index]
        return MIXED if 0 < passed < tested else SETTLED
