"""Tasks: reading the JSONL file, and the order of the epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from markbook.config.loading import ConfigError
from markbook.config.settings import Training
from markbook.tasks import read_tasks
from markbook.trainer.data.chat import render
from markbook.trainer.types import Task


def check_tasks(training: Training) -> None:
    """Raise ConfigError where a task file cannot be used: before a model is loaded, which can
    take minutes.
    """
    for key in ("tasks", "eval_tasks"):
        if path := getattr(training, key):
            try:
                read_tasks(path)
            except ConfigError as error:
                raise ConfigError(f"training.{key}: {error}") from error


def load_tasks(
    path: str | Path, tokenizer: Any, training: Training, *, use_tests: bool = True
) -> list[Task]:
    """Read and render a file of tasks, in any form that `shared/markbook/tasks.py` reads.

    Without `use_tests` they have none: the service ignores them, so that nothing is known of what
    would pass.

    Raises ConfigError with file and line for anything that is not such a task, or is longer than
    `training.max_prompt_tokens`.
    """
    limit = training.max_prompt_tokens
    tasks: list[Task] = []
    for number, line in read_tasks(path):
        token_ids = render(
            tokenizer, line.prompt, training.system_prompt, training.chat_template_kwargs
        )
        if len(token_ids) > limit:
            raise ConfigError(
                f"{path}:{number}: the task has {len(token_ids)} tokens with its chat template, "
                f"more than training.max_prompt_tokens ({limit}): shorten it or raise the limit"
            )
        tests, setup = (tuple(line.tests), line.test_setup) if use_tests else ((), "")
        tasks.append(Task(len(tasks), line.prompt, line.language, token_ids, tests, setup))
    return tasks


def batches(tasks: Sequence[Task], size: int, seed: int) -> Iterator[list[Task]]:
    """Endless batches of `size` tasks: every epoch holds each task once, in an order fixed by
    `seed` and the epoch.
    """
    batch: list[Task] = []
    epoch = 0
    while True:
        for index in np.random.default_rng((seed, epoch)).permutation(len(tasks)):
            batch.append(tasks[index])
            if len(batch) == size:
                yield batch
                batch = []
        epoch += 1
