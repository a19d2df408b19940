"""Marks for verl: its `custom_reward_function`, `path=pkg://markbook.adapters.verl`,
`name=compute_score`.

verl has no value for a sample without a mark, and an error has to leave the reward manager. What
follows depends on the trainer: with `trainer.use_v1` (verl 0.9's default) the completion is left
out of its group, otherwise the run ends. The managers `naive`, `dapo`, `gdpo` and `rate_limited`
were run with verl 0.9.1; `remote` accepts no async functions. Source:
https://verl.readthedocs.io/en/latest/preparation/reward_function.html,
`verl/experimental/reward_loop` and `verl/trainer/ppo/v1/agent_loop_tq.py` in
https://github.com/verl-project/verl.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from markbook.adapters._common import WAIT_S, build_sample, marks, require_scores, text_of
from markbook.contract import DEFAULT_RUN


class NoRewardError(BaseException):
    """A sample has no score. The message has the reason; the cause is `__cause__`.

    Not an Exception: verl's `rate_limited` manager replaces each of those by a reward of 0.0. Ray
    returns it to the caller as a RayTaskError, and the reward worker lives on.
    """


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    run: str = DEFAULT_RUN,
    language: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    wait_s: float = WAIT_S,
    **_: Any,
) -> float:
    """The mark of one completion, in [0, 1]. `run` to `wait_s` come from `reward_kwargs`; without
    `url` and `api_key` the address is $MARKBOOK_URL, else http://127.0.0.1:8000, and the key
    $MARKBOOK_API_KEY.

    `extra_info` holds the task as `prompt` or `question`, a text or messages, and may hold its
    `language`, its `tests` (a list of Python statements, each one test) and their `test_setup`.
    `ground_truth` and `data_source` are ignored. Raises NoRewardError, and nothing else, for
    whatever reason there is no mark: task or language are missing, the service gave none, does not
    answer or refuses, the call was cancelled.
    """
    try:
        info = extra_info or {}
        task = text_of(info.get("prompt", info.get("question", "")), "user")
        spoken = info.get("language") or language
        if not task:
            raise ValueError(
                "compute_score needs the task: put it into the dataset's extra_info, as `prompt`"
            )
        if not spoken:
            raise ValueError(
                "compute_score needs the language: reward_kwargs.language, or `language` in "
                "extra_info"
            )
        sample = build_sample(task, solution_str, spoken, info.get("tests"), info.get("test_setup"))
        results = await marks([sample], run=run, url=url, api_key=api_key, wait_s=wait_s)
        return require_scores(results)[0]
    except asyncio.CancelledError as error:
        # `rate_limited` cancels after `reward.timeout` seconds and records 0.0, unless another
        # error comes back
        raise NoRewardError(
            f"a sample of {data_source} has no mark: cancelled; set reward.timeout above "
            f"{wait_s:g} s (wait_s)"
        ) from error
    except Exception as error:
        raise NoRewardError(
            f"a sample of {data_source} has no mark: {type(error).__name__}: {error}"
        ) from error
