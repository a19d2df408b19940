"""Groups whose marks are all the same teach nothing: others are sampled and marked in their
place, up to a limit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from markbook.config.settings import Config
from markbook.contract import Scored
from markbook.trainer.data.task_sampling import TaskSampler
from markbook.trainer.objective.advantages import zero_variance
from markbook.trainer.rollout.queue import Draw, RolloutQueue
from markbook.trainer.types import Group

REPLACEMENTS = 2
"""The first of the sampling streams of replacements, one for each round of a step."""


def replace_uniform_groups(
    groups: list[Group],
    rollouts: RolloutQueue,
    order: TaskSampler,
    config: Config,
    run: str,
    step: int,
) -> tuple[list[Group], list[Group]]:
    """`groups`, changed in place, with groups of other tasks in the place of uniform ones; and
    those replaced.

    At most `training.max_group_replacements` per step. Raises as `RolloutQueue.marks` does.
    """
    limit, replaced = config.training.max_group_replacements, list[Group]()
    drawn = {samples[0].task.index for samples, _ in groups}
    for round_ in range(limit):
        flat = zero_variance(scores_of_groups(groups)).nonzero().flatten().tolist()
        wanted = min(len(flat), limit - len(replaced))
        tasks = order.replacements(wanted, step, round_, frozenset(drawn)) if wanted else []
        if not tasks:
            break
        drawn |= {task.index for task in tasks}
        draw = Draw(run, f"again_{round_}", REPLACEMENTS + round_, step)
        rollout = rollouts.start(draw, tasks, config.rlaif.num_samples_per_prompt)
        for place, group in zip(flat, rollouts.marks(rollout), strict=False):
            replaced.append(groups[place])
            groups[place] = group
    return groups, replaced


def scores_of_groups(groups: Sequence[Group]) -> torch.Tensor:
    """(groups, samples) scores; a sample without one is NaN, and nowhere a number."""
    scores: list[list[float]] = []
    for _, results in groups:
        scores.append(
            [result.score if isinstance(result, Scored) else torch.nan for result in results]
        )
    return torch.tensor(scores, dtype=torch.float64)
