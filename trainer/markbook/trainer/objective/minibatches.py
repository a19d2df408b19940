"""The parts of a batch that its optimizer steps learn from. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def split_minibatches(
    tasks: Sequence[int], in_policy: Sequence[bool], parts: int, seed: int, stream: tuple[int, int]
) -> list[list[int]]:
    """Indices of samples in at most `parts` minibatches, as many tasks in each to within one, a
    task in one of them.

    `tasks`, `in_policy`: of each sample, its task and whether it counts in the policy term. Tasks
    are shuffled by `seed` and `stream` (the update it begins at, the epoch), the same in every
    process and after a resume, and dealt out: first those in the policy term, so that no minibatch
    is without them. Fewer such tasks make fewer minibatches.

    Source: minibatches and epochs, PPO, https://arxiv.org/abs/1707.06347, algorithm 1.
    """
    groups = dict.fromkeys(tasks)
    with_say = {task for task, counts in zip(tasks, in_policy, strict=True) if counts}
    parts = min(parts, len(with_say))
    if parts <= 1:
        return [list(range(len(tasks)))]
    names = list(groups)
    shuffled = [
        names[place] for place in np.random.default_rng((seed, *stream)).permutation(len(names))
    ]
    dealt = [task for task in shuffled if task in with_say] + [
        task for task in shuffled if task not in with_say
    ]
    part_of = {task: place % parts for place, task in enumerate(dealt)}
    minibatches: list[list[int]] = [[] for _ in range(parts)]
    for index, task in enumerate(tasks):
        minibatches[part_of[task]].append(index)
    return minibatches
