"""Those who mark: the protocol, the Anthropic API, and an offline stand-in."""

from services.scoring.rubric import Rubric
from services.scoring.teachers.base import CRITERIA, Teacher
from shared.config import ConfigError
from shared.settings import Config


def make_teacher(config: Config, rubric: Rubric) -> Teacher:
    """The teacher that the configuration names. Raises ConfigError when it cannot be set up."""
    if config.teacher.name == "anthropic":
        from services.scoring.teachers.anthropic import AnthropicTeacher

        if config.budgets.in_dollars() and config.teacher.price() is None:
            raise ConfigError(
                f"there is a budget in dollars, but the price of {config.teacher.model} is not known: give it under "
                "teacher.prices, or set the budget in tokens"
            )
        return AnthropicTeacher.from_config(config, rubric)
    if set(rubric.criteria) != set(CRITERIA):
        raise ConfigError(
            f"teacher.rubric asks for {', '.join(rubric.criteria)}, but teacher.name is static, which knows only "
            f"{', '.join(CRITERIA)}: set teacher.name to anthropic, or teacher.rubric to null"
        )
    from services.scoring.teachers.static import StaticTeacher

    return StaticTeacher()
