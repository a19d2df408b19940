"""What the profile of a mark is a hash of."""

from __future__ import annotations

from markbook.config.settings import Config
from markbook.scoring.pipeline.code_extraction import EXTRACTOR_VERSION
from markbook.scoring.prompts.prompt import TEMPLATE_VERSION
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.teachers.protocol import Teacher


def mark_identity(config: Config, teacher: Teacher, rubric: Rubric) -> dict[str, object]:
    """What a mark depends on besides task, code and language.

    Not the weights: they are applied on reading.
    """
    rlaif = config.rlaif
    return {
        "teacher": dict(teacher.identity()),
        "rubric": rubric.version,
        "template": TEMPLATE_VERSION,
        "extractor": EXTRACTOR_VERSION,
        "max_group_size": config.teacher.max_group_size,
        "prompt_chars": rlaif.prompt_context_chars if rlaif.truncate_prompt_for_scoring else None,
        "prompt_policy": rlaif.prompt_context_policy if rlaif.truncate_prompt_for_scoring else None,
        "rubric_in_system_prompt": rlaif.move_rubric_to_system_prompt,
    }
