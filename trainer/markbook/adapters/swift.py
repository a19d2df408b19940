"""Marks for ms-swift's GRPO: `orms["markbook"] = markbook_reward(run="mine", language="python")` in
a plugin file, then `--external_plugins plugin.py --reward_funcs markbook`.

ms-swift accepts None from a reward function, but sums rewards with nansum: a sample without a mark
would count as 0.0 in its group's baseline and advantage. So a missing mark is an exception and ends
the run; marks that arrived are cached. Source: `swift/rl_core/grpo_algorithm.py` and `advantage.py`
of ms-swift 4.6, https://github.com/modelscope/ms-swift.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from markbook.adapters._common import WAIT_S, build_samples, marks, require_scores
from markbook.contract import DEFAULT_RUN

Reward = Callable[..., Awaitable[list[float]]]


def markbook_reward(
    *,
    run: str = DEFAULT_RUN,
    language: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    wait_s: float = WAIT_S,
) -> Callable[..., Reward]:
    """An entry of `swift.rewards.orms`: ms-swift calls it with its arguments, which are ignored,
    and gets the reward function, which is async.

    `run`: the name under which the service counts. `language`: of all completions; without it the
    dataset's column `language` is used row by row. The task is the text of the row's user messages.
    Columns `tests` (lists of Python statements, each one test) and `test_setup` reach the service
    unchanged. `url`, `api_key`: else $MARKBOOK_URL (without it http://127.0.0.1:8000) and
    $MARKBOOK_API_KEY. The service is waited for up to `wait_s` seconds.

    The function returns a mark in [0, 1] for each completion. It raises ValueError where the
    language is missing, NoMarksError where a mark is, and ClientError where the service does not
    answer or refuses.
    """

    async def markbook(
        completions: Sequence[str], messages: Sequence[Sequence[Mapping[str, Any]]], **columns: Any
    ) -> list[float]:
        samples = build_samples(messages, completions, columns, language)
        return require_scores(
            await marks(samples, run=run, url=url, api_key=api_key, wait_s=wait_s)
        )

    def create(args: Any = None, **_: Any) -> Reward:
        return markbook

    return create
