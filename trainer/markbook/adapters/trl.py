"""Marks for TRL's GRPOTrainer: `GRPOTrainer(reward_funcs=markbook_reward(run="mine",
language="python"), …)`.

A sample without a mark is None, which TRL leaves out of the group's baseline and gives no
advantage. Source: "Using a custom reward function" in https://huggingface.co/docs/trl/grpo_trainer,
and `_calculate_rewards` of TRL 1.16.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from markbook.adapters._common import WAIT_S, build_samples, check_hope, marks
from markbook.contract import DEFAULT_RUN, Scored, Source

Reward = Callable[..., Awaitable[list[float | None]]]


def markbook_reward(
    *,
    run: str = DEFAULT_RUN,
    language: str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    wait_s: float = WAIT_S,
) -> Reward:
    """An async reward function for GRPOTrainer and its kin.

    `run`: the name under which the service counts. `language`: of all completions; without it the
    dataset's column `language` says it row by row. Columns `tests` (lists of Python statements,
    each one test) and `test_setup` reach the service as they are. Prompts and completions may be
    texts or messages; of messages the teacher is shown the user's messages. `url`, `api_key`: else
    those of $MARKBOOK_URL (without it http://127.0.0.1:8000) and $MARKBOOK_API_KEY.

    The function returns a mark in [0, 1] or None for each completion. It waits up to `wait_s`
    seconds for a service that is away, and again for marks that it could not give. It raises
    ClientError when that was not enough, and NoMarksError when nothing more will be marked (a spent
    budget): the run ends; `resume_from_checkpoint` continues it.
    """

    async def markbook(
        prompts: Sequence[Any], completions: Sequence[Any], log_metric: Any = None, **columns: Any
    ) -> list[float | None]:
        samples = build_samples(prompts, completions, columns, language)
        results = await marks(samples, run=run, url=url, api_key=api_key, wait_s=wait_s)
        check_hope(results)
        if log_metric is not None:
            scored = [result for result in results if isinstance(result, Scored)]
            known = sum(result.source in (Source.CACHE, Source.COALESCED) for result in scored)
            log_metric("markbook/frac_unscored", 1 - len(scored) / len(results))
            log_metric("markbook/frac_cached", known / len(results))
        return [result.score for result in results]

    return markbook
