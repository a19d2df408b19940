"""What marks of known samples would cost: printed before `judge`, `rescore` and `rubric try`
make them.
"""

from __future__ import annotations

from collections.abc import Sequence

from markbook.config.settings import Config
from markbook.scoring.budgets.cost_estimate import Assumptions, Forecast, forecast_groups
from markbook.scoring.judging.marking import CodeSample
from markbook.scoring.prompts.rubric import load_rubric

LIKELY = Assumptions(0.0, 0.0, 0.0, text_factor=1.0, rubric_writes=1, room_used=0.1)
MOST = Assumptions(0.0, 0.0, 0.0, text_factor=7 / 6, rubric_writes=10**9, room_used=1.0)
"""A sixth more tokens than estimated, the estimate's error on code; the rubric read from no
cache; longest replies.
"""


def estimate_cost(
    config: Config,
    samples: Sequence[CodeSample],
    groups: Sequence[int],
    indices: Sequence[int],
    assumed: Assumptions = LIKELY,
) -> Forecast:
    """What the teacher's marks of the samples at `indices` would cost, if no tier rejects any.

    `groups`: of each sample, those of one task that are shown together. With `teacher.batch` at the
    price of batches.
    """
    by_group: dict[int, list[CodeSample]] = {}
    for index in indices:
        by_group.setdefault(groups[index], []).append(samples[index])
    listed: list[tuple[tuple[str, str], list[str]]] = []
    for each in by_group.values():
        listed.append(((each[0].prompt, each[0].language), [sample.code for sample in each]))
    return forecast_groups(listed, assumed, config, load_rubric(config.teacher.rubric))
