"""What the parts of the trainer hand each other: tasks, samples, groups with their marks, a
step's figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from markbook.contract import Result


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the teacher sees it (`prompt`) and as the student does (`token_ids`, chat
    template included).
    """

    index: int
    prompt: str
    language: str
    token_ids: tuple[int, ...]
    tests: tuple[str, ...] = ()
    test_setup: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the student wrote for a task.

    `ids` hold the end token where it wrote one; `text` is raw, without it.

    `log_probs`: of each id under the policy that drew it. They carry float noise, so they make no
    two samples differ. `updates`: how many the policy had had when it drew it.
    """

    task: Task
    ids: tuple[int, ...]
    text: str
    truncated: bool
    log_probs: tuple[float, ...] = field(default=(), compare=False)
    updates: int = field(default=0, compare=False)


Metrics = dict[str, Any]


Group = tuple[Sequence[Sample], Sequence[Result]]
"""The samples of one task and the service's result for each."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """`kl`: nats per token before the step, None where there is no reference. `kl_penalty`,
    `entropy_coef`: the coefficients that applied. `grad_norm`: before clipping. `policy_lag`:
    updates since the samples were drawn, their mean; with it grow `log_prob_gap` and `ratio_max`
    (see Accumulated), which are float noise where sampler and learner are one policy. `padding`:
    its share among the tokens that were read. `entropy`: of a token's distribution, nats, mean.
    `updates`: optimizer steps that these are the figures of.
    """

    loss: float
    kl: float | None
    kl_penalty: float
    clip_fraction: float | None
    grad_norm: float
    learning_rate: float
    policy_lag: float
    log_prob_gap: float
    ratio_max: float
    padding: float
    entropy: float
    entropy_coef: float
    updates: int = 1


def merge_updates(results: Sequence[StepResult]) -> StepResult:
    """The figures of several updates on one batch: means, but the largest `ratio_max` and the last
    `learning_rate`.

    One is returned as it is. Raises IndexError without any.
    """
    if len(results) == 1:
        return results[0]
    merged: dict[str, Any] = {}
    for name in (
        "loss",
        "kl",
        "clip_fraction",
        "grad_norm",
        "policy_lag",
        "log_prob_gap",
        "padding",
        "entropy",
    ):
        values = [value for result in results if (value := getattr(result, name)) is not None]
        merged[name] = fmean(values) if values else None
    last = results[-1]
    return replace(
        last, **merged, ratio_max=max(result.ratio_max for result in results), updates=len(results)
    )
