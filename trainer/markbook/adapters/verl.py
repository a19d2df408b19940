"""Marks for verl: its `custom_reward_function`, `path=pkg://markbook.adapters.verl`, `name=compute_score`.

verl has no place for a sample without a mark: compute_score raises, and verl's default reward manager passes that on
and ends the run. Its `rate_limited` manager makes 0.0 of an error: do not use it with this. Source:
https://verl.readthedocs.io/en/latest/preparation/reward_function.html and
`verl/experimental/reward_loop/reward_manager/naive.py` in https://github.com/verl-project/verl.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markbook.adapters._common import WAIT_S, NoMarksError, marks, text_of
from markbook.contract import DEFAULT_RUN, Sample, Scored


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
    """The mark of one completion, in [0, 1]. `run` to `wait_s` come from `reward_kwargs`; without `url` and
    `api_key` the address is $MARKBOOK_URL, else http://127.0.0.1:8000, and the key $MARKBOOK_API_KEY.

    `extra_info` holds the task as `prompt` or `question`, a text or messages, and may hold its `language`, its `tests`
    (a list of Python statements, each one test) and their `test_setup`.
    `ground_truth` and `data_source` are ignored. Raises ValueError where task or language is missing, NoMarksError
    where there is no mark, ClientError where the service does not answer or refuses.
    """
    info = extra_info or {}
    task = text_of(info.get("prompt", info.get("question", "")), "user")
    spoken = info.get("language") or language
    if not task:
        raise ValueError("compute_score needs the task: put it into the dataset's extra_info, as `prompt`")
    if not spoken:
        raise ValueError("compute_score needs the language: reward_kwargs.language, or `language` in extra_info")
    tests, setup = info.get("tests"), info.get("test_setup") or ""
    own = [] if tests is None else list(tests)  # an array has no truth value
    sample = Sample(prompt=task, language=spoken, code=solution_str, tests=own, test_setup=setup)
    [result] = await marks([sample], run=run, url=url, api_key=api_key, wait_s=wait_s)
    if not isinstance(result, Scored):
        raise NoMarksError(f"a sample of {data_source} has no mark: {result.error.code}: {result.error.detail}")
    return result.score
