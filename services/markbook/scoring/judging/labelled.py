"""Samples with a truth: the lines of a file for `markbook judge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from markbook.config.loading import ConfigError
from markbook.contract import Language, Test
from markbook.jsonl import line_error, numbered_lines, read_text
from markbook.scoring.languages import canonical

TESTABLE = "python"


class LabelledSample(BaseModel):
    """One line: a sample and exactly one truth. Other keys (ids, tags, notes) are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    prompt: str = Field(min_length=1)
    language: Language
    code: str
    passed: bool | None = None
    """Whether it is right."""
    score: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    """How right people find it."""
    tests: list[Test] | None = Field(default=None, min_length=1)
    """Python statements, each one test; it is right if all of them pass."""
    test_setup: str = ""

    @model_validator(mode="after")
    def _has_one_truth(self) -> Self:
        given = [name for name in ("passed", "score", "tests") if getattr(self, name) is not None]
        if not given:
            raise ValueError("it has no truth: give passed, score or tests")
        if len(given) > 1:
            raise ValueError(f"it has several truths ({', '.join(given)}): give one of them")
        if self.tests is not None and canonical(self.language) != TESTABLE:
            raise ValueError(
                f"tests can be run in {TESTABLE} only, not in {self.language}: give passed or score"
            )
        return self


@dataclass(frozen=True, slots=True)
class Truth:
    """`value` in [0, 1]; `is_right`: the same as yes or no."""

    value: float
    is_right: bool


def read_labelled(path: str | Path) -> list[LabelledSample]:
    """The samples of a file (`.gz`: compressed), at least one.

    Raises ConfigError, which names file, line and key.
    """
    samples: list[LabelledSample] = []
    for number, line in numbered_lines(read_text(path)):
        try:
            samples.append(LabelledSample.model_validate_json(line))
        except ValidationError as error:
            raise line_error(str(path), number, error) from error
    if not samples:
        raise ConfigError(f"{path} holds no samples")
    return samples


def given_truth(sample: LabelledSample, right_from: float) -> Truth | None:
    """The truth in the line itself; None where tests are to be run.

    A score counts as right from `right_from` on.
    """
    if sample.passed is not None:
        return Truth(float(sample.passed), sample.passed)
    if sample.score is not None:
        return Truth(sample.score, sample.score >= right_from)
    return None


class HasTask(Protocol):
    """A sample of some task in some language."""

    @property
    def prompt(self) -> str: ...

    @property
    def language(self) -> str: ...


def number_tasks(samples: Sequence[HasTask]) -> list[int]:
    """The task of each sample, from 0 in the order of the file: one prompt in one language is
    one task.
    """
    numbers: dict[tuple[str, str], int] = {}
    return [
        numbers.setdefault((each.prompt, canonical(each.language)), len(numbers))
        for each in samples
    ]
