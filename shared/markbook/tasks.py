"""Task files: JSONL of Markbook's own form, of HumanEval's and of MBPP's, read as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from markbook.config.loading import ConfigError
from markbook.contract import Language, Test
from markbook.jsonl import line_error, numbered_lines, read_text
from markbook.split_tests import split_check


class TaskLine(BaseModel):
    """One line of a task file. Other keys (ids, tags, notes) are the file's own business."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    prompt: str = Field(min_length=1)
    language: Language
    tests: list[Test] = Field(default_factory=list)
    """Python statements, each one test, run after the code in a session of its own."""
    test_setup: str = ""
    solution: str | None = None
    """Code that passes the tests; `tasks check` runs it, training never shows it."""


class _HumanEval(BaseModel):
    """HumanEval's form: `test` defines `check(candidate)`, to be called with the function
    `entry_point`.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    prompt: str = Field(min_length=1)
    test: str
    entry_point: str = Field(pattern=r"^[A-Za-z_]\w*$")
    canonical_solution: str | None = None

    def task(self) -> TaskLine:
        setup, tests = split_check(self.test, self.entry_point)
        solution = (
            None if self.canonical_solution is None else self.prompt + self.canonical_solution
        )
        return TaskLine(
            prompt=self.prompt, language="python", tests=tests, test_setup=setup, solution=solution
        )


class _Mbpp(BaseModel):
    """MBPP's form.

    Its text names no function: as its authors did, the tests are shown in the prompt.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    text: str = Field(min_length=1)
    test_list: list[Test]
    test_setup_code: str = ""
    code: str | None = None

    def task(self) -> TaskLine:
        prompt = "\n".join([self.text, "Your code should pass these tests:", *self.test_list])
        return TaskLine(
            prompt=prompt,
            language="python",
            tests=self.test_list,
            test_setup=self.test_setup_code,
            solution=self.code,
        )


def read_tasks(path: str | Path) -> list[tuple[int, TaskLine]]:
    """The tasks of a file (`.gz`: compressed) with their line numbers; at least one.

    Raises ConfigError, which names file, line and key, for anything that is no such file.
    """
    return parse_tasks(read_text(path, "the tasks "), str(path))


def parse_tasks(text: str, name: str) -> list[tuple[int, TaskLine]]:
    """The same for text already read; `name` is used in error messages."""
    tasks: list[tuple[int, TaskLine]] = []
    for number, line in numbered_lines(text):
        try:
            tasks.append((number, parse_task(line)))
        except ValidationError as error:
            raise line_error(name, number, error) from error
    if not tasks:
        raise ConfigError(f"{name} holds no tasks")
    return tasks


def parse_task(line: str) -> TaskLine:
    """One line of whichever form. Raises ValidationError."""
    values = _object(line)
    if "test" in values and "entry_point" in values:
        return _HumanEval.model_validate(values).task()
    if "test_list" in values:
        # the sanitized edition of MBPP has `prompt` for `text`, and lists imports
        imports = values.get("test_imports") or []
        plain = {"text": values.get("prompt"), "test_setup_code": "\n".join(map(str, imports))}
        return _Mbpp.model_validate({**plain, **values}).task()
    return TaskLine.model_validate_json(line)


def _object(line: str) -> Mapping[str, Any]:
    """The line's keys; none where it is not an object, which the model reports better."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
