"""Marks for verifiers: a reward `(task, trace) -> float`, as a hook of the task's configuration or
in a Judge.

A missing mark is an exception. verifiers records it on the trace as a TaskError: `trace.ok` is
False, `trace.rewards` has None under the reward's name, and nothing is raised to other rollouts.
`trace.reward` is a sum and reads 0.0 then, so a consumer has to look at `trace.ok` first. Source:
`Task.score` and `Rollout.close` of verifiers 0.4, https://github.com/PrimeIntellect-ai/verifiers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from markbook.adapters._common import WAIT_S, build_sample, marks, require_scores
from markbook.contract import DEFAULT_RUN

Reward = Callable[[Any, Any], Awaitable[float]]


def markbook_reward(
    *,
    run: str = DEFAULT_RUN,
    language: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    wait_s: float = WAIT_S,
) -> Reward:
    """An async reward function of a verifiers task.

    `run`: the name under which the service counts. The task is `task.prompt_text`, the completion
    `trace.last_reply`. Fields `language`, `tests` (a list of Python statements, each one test) and
    `test_setup` of the task's data are used where it has them; `language` is for tasks without
    their own. `url`, `api_key`: else $MARKBOOK_URL (without it http://127.0.0.1:8000) and
    $MARKBOOK_API_KEY. The service is waited for up to `wait_s` seconds.

    The function returns a mark in [0, 1]. It raises ValueError where the language is missing,
    NoMarksError where there is no mark, and ClientError where the service does not answer or
    refuses.
    """

    async def markbook(task: Any, trace: Any) -> float:
        spoken = getattr(task, "language", None) or language
        if not spoken:
            raise ValueError(
                'which language? markbook_reward(language="python"), or `language` in the task\'s '
                "data"
            )
        tests, setup = getattr(task, "tests", None), getattr(task, "test_setup", None)
        sample = build_sample(task.prompt_text, trace.last_reply, spoken, tests, setup)
        results = await marks([sample], run=run, url=url, api_key=api_key, wait_s=wait_s)
        return require_scores(results)[0]

    return markbook
