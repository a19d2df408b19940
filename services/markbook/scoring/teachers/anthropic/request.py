"""Builds the bodies of Messages API requests: the rubric where it can be cached, then a task
with its samples.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from markbook.config.settings import TeacherConfig
from markbook.scoring.prompts.prompt import estimate_tokens, fence, render, system_text
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.teachers.anthropic import structured_output
from markbook.scoring.teachers.anthropic.models import ModelFacts, model_facts, thinking_room
from markbook.scoring.teachers.anthropic.reply_parser import reply_tokens
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import ScoringFailure

log = logging.getLogger(__name__)


class RequestBuilder:
    """For one configuration and rubric.

    `rubric_in_system_prompt`: else it is part of each message, uncached.
    """

    def __init__(
        self, config: TeacherConfig, rubric: Rubric, *, rubric_in_system_prompt: bool
    ) -> None:
        self._config = config
        self._criteria = tuple(rubric.criteria)
        self._cached = rubric_in_system_prompt
        self.facts: ModelFacts = model_facts(config.model)
        self.constrained = structured_output.is_constrained(config, self.facts)
        self._sends_schema = self.constrained
        self.instructions = system_text(rubric, explain=config.explain)
        if self.constrained:
            self.instructions += (
                structured_output.FORM_EXPLAINED if config.explain else structured_output.FORM
            )
        self.effort = config.effort or ("low" if self.facts.thinking == "always" else None)

    @cached_property
    def system(self) -> str:
        """The system prompt; empty where the rubric is part of each message."""
        return self.instructions if self._cached else ""

    def build(
        self, group: Group, shown: Sequence[int], ttl: str | None = None, *, in_batch: bool = False
    ) -> dict[str, Any]:
        """The body for the samples with the indices `shown`, in that order.

        Deterministic in the group's id.

        `ttl`: of the cached rubric, where it is not the configured one. `in_batch`: a server that
        refuses the schema would refuse the whole batch, so that `teacher.constrain: auto` sends
        none.
        """
        codes = [group.codes[index] for index in shown]
        marker = fence(f"{group.id} {shown}", group.task, codes)
        text = render(group.task, group.language, codes, marker)
        request: dict[str, Any] = {
            "model": self._config.model,
            "max_tokens": reply_tokens(
                len(codes),
                len(self._criteria),
                explain=self._config.explain,
                constrained=self.constrained,
            )
            + thinking_room(self.facts.thinking, self._config.thinking_tokens),
            "messages": [
                {
                    "role": "user",
                    "content": text if self._cached else f"{self.instructions}\n\n{text}",
                }
            ],
        }
        if self._cached:
            held = {"type": "ephemeral", "ttl": ttl or self._config.cache_ttl}
            request["system"] = [{"type": "text", "text": self.instructions, "cache_control": held}]
        if self.facts.thinking in ("disabled", "between_tools"):  # as little as the model allows
            request["thinking"] = {"type": self.facts.thinking}
        output: dict[str, Any] = {} if self.effort is None else {"effort": self.effort}
        sends_schema = not (in_batch and self._config.constrain == "auto")
        if output := output | (self._format(len(codes)) if sends_schema else {}):
            request["output_config"] = output
        return request

    def drop_refused_schema(self, request: Mapping[str, Any], failure: ScoringFailure) -> bool:
        """Whether the server refused the schema of `request`, and `teacher.constrain` leaves it to
        the server.

        Then no request has a schema any more; the form is still asked for.
        """
        sent = "format" in request.get("output_config", {})
        if (
            self._config.constrain != "auto"
            or not sent
            or not structured_output.refuses_schema(failure)
        ):
            return False
        if self._sends_schema:
            log.warning(
                "the teacher's server takes no schema of its replies (teacher.constrain): %s",
                failure.detail,
            )
            self._sends_schema = False
        return True

    def _format(self, count: int) -> dict[str, Any]:
        if not self._sends_schema:
            return {}
        schema = structured_output.reply_schema(
            count,
            len(self._criteria),
            explain=self._config.explain,
            bounded=self.facts.thinking == "unknown",
        )
        return {"format": {"type": "json_schema", "schema": schema}}

    def uncached_tokens(self) -> tuple[int, int] | None:
        """Estimated tokens of the rubric and the model's least to cache, where the rubric is too
        short; else None.
        """
        tokens = (
            estimate_tokens(self.instructions) * 7 // 8
        )  # the estimate is up to an eighth too high for English
        floor = self.facts.cache_floor
        return (tokens, floor) if self._cached and floor is not None and tokens < floor else None
