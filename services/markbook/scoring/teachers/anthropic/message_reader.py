"""Reads an answered message: a refusal, a reply that was cut off, or the marks in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markbook.scoring.teachers.anthropic.reply_parser import read_reply
from markbook.scoring.teachers.anthropic.response import get_text, no_marks_within, refusal
from markbook.scoring.teachers.anthropic.structured_output import as_lines
from markbook.scoring.types import Judgment, ScoringFailure


@dataclass(frozen=True, slots=True)
class MessageReader:
    """For one rubric's criteria. `thinking_is_known`: whether the model's thinking is one that
    requests allow for. `is_constrained`: whether requests ask for a reply of a JSON schema.
    """

    criteria: Sequence[str]
    explain: bool
    thinking_is_known: bool
    is_constrained: bool = False

    def read(
        self, message: object, count: int, max_tokens: int, *, explain: bool | None = None
    ) -> tuple[Judgment | ScoringFailure, ...]:
        """One outcome for each of the `count` samples, in the order shown; never raises.

        `explain`: see the field.
        """
        stop_reason = getattr(message, "stop_reason", None)
        if stop_reason == "refusal":
            return (refusal(message),) * count
        text = as_lines(get_text(message)) if self.is_constrained else get_text(message)
        cut = stop_reason in ("max_tokens", "model_context_window_exceeded")
        outcomes = read_reply(
            text,
            count,
            self.criteria,
            cut=cut,
            explain=self.explain if explain is None else explain,
        )
        if (
            cut
            and not self.thinking_is_known
            and not any(isinstance(each, Judgment) for each in outcomes)
        ):
            return (no_marks_within(max_tokens),) * count
        return outcomes
