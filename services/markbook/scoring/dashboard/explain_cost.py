"""What it costs to have one mark explained, before the teacher is asked."""

from __future__ import annotations

from markbook.config.settings import Config
from markbook.scoring.budgets.cost_estimate import Assumptions, forecast_groups
from markbook.scoring.dashboard import formatting
from markbook.scoring.prompts.rubric import Rubric

_LEAST = Assumptions(0, 0, 0, text_factor=0.85, rubric_writes=0, room_used=0)
"""The rubric is in the provider's cache, and the reply is short."""
_MOST = Assumptions(0, 0, 0, text_factor=1.25, rubric_writes=1, room_used=1)
"""The rubric has to be written there, and the reply takes all the room it has."""


def explain_cost(
    config: Config, rubric: Rubric, task: tuple[str, str], code: str, *, is_stub: bool
) -> str:
    """A phrase such as `$0.00008 to $0.0005`. `task`: prompt and language."""
    if is_stub:
        return "nothing, since no real teacher is configured"
    teacher = config.teacher.model_copy(update={"explain": True, "batch": "off"})  # it is a call
    explaining = config.model_copy(update={"teacher": teacher})
    least, most = (
        forecast_groups([(task, [code])], each, explaining, rubric).usd for each in (_LEAST, _MOST)
    )
    if least is None or most is None:
        return "an unknown amount: set teacher.prices for this model"
    return f"{formatting.usd(least)} to {formatting.usd(most)}"
