"""ms-swift's own computation of rewards and advantages. Options: `url`, `codes`, `missing`.

`missing`: "raise", the adapter; "none", a function that returns None for the first completion,
which shows what ms-swift makes of it.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from swift.rewards import orms
from swift.rl_core.advantage import compute_advantages
from swift.rl_core.data import GRPOSample
from swift.rl_core.grpo_algorithm import compute_rewards_per_func

from markbook.adapters.swift import markbook_reward
from tests.trainers.report import described, options, show

TASK = "Write a function `area(width, height)` that returns the area of a rectangle."


def none_first(completions: list[str], **_: Any) -> list[float | None]:
    return [None, *([0.5] * (len(completions) - 1))]


def main() -> None:
    chosen = options()
    orms["markbook"] = markbook_reward(run="swift", url=chosen["url"], wait_s=5.0)
    function = none_first if chosen["missing"] == "none" else orms["markbook"](args=None)
    samples = [
        GRPOSample.from_row(
            {
                "messages": [
                    {"role": "user", "content": TASK},
                    {"role": "assistant", "content": code},
                ],
                "prompt_id": "one",
                "request_id": str(number),
                "language": "python",
            }
        )
        for number, code in enumerate(chosen["codes"])
    ]
    try:
        rewards = compute_rewards_per_func(samples, [function], [None], torch.device("cpu"))
    except Exception as error:  # noqa: BLE001  # ms-swift lets it pass, and the run ends
        show(version=version("ms-swift"), error=described(error))
        return
    advantages, _ = compute_advantages(rewards, torch.ones(1), len(samples), scale_rewards="none")
    show(
        version=version("ms-swift"),
        rewards=rewards[:, 0].nan_to_num(-1).tolist(),
        advantages=advantages.tolist(),
    )


if __name__ == "__main__":
    main()
