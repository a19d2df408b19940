"""Those who mark: the protocol, the Anthropic API, and an offline stub."""

from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.teachers.protocol import Teacher
from markbook.scoring.types import CRITERIA


def make_teacher(config: Config, rubric: Rubric) -> Teacher:
    """The teacher that the configuration names. Raises ConfigError when it cannot be set up."""
    if config.teacher.name == "anthropic":
        from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher

        if config.budgets.in_dollars() and config.teacher.price() is None:
            raise ConfigError(
                f"there is a budget in dollars, but the price of {config.teacher.model} is not "
                "known: give it under teacher.prices, or set the budget in tokens"
            )
        return AnthropicTeacher.from_config(config, rubric)
    if set(rubric.criteria) != set(CRITERIA):
        raise ConfigError(
            f"teacher.rubric asks for {', '.join(rubric.criteria)}, but teacher.name is static, "
            f"which knows only {', '.join(CRITERIA)}: set teacher.name to anthropic, or "
            "teacher.rubric to null"
        )
    from markbook.scoring.teachers.static import StaticTeacher

    return StaticTeacher()
