"""SkyRL's gym: our environment, registered and made as SkyRL's generator does.

Options: `url`, `codes`.
"""

from __future__ import annotations

from importlib.metadata import version

import skyrl_gym
from skyrl_gym.metrics import aggregate_for_environment

from tests.trainers.report import described, options, show

PROMPT = [
    {"role": "system", "content": "Answer with one block of code."},
    {
        "role": "user",
        "content": "Write a function `area(width, height)` that returns the area of a rectangle.",
    },
]


def main() -> None:
    chosen = options()
    skyrl_gym.register(
        "markbook",
        "markbook.adapters.skyrl:MarkbookEnv",
        kwargs={"run": "skyrl", "url": chosen["url"], "wait_s": 5.0},
    )
    steps = []
    for code in chosen["codes"]:
        env = skyrl_gym.make(
            "markbook", env_config={}, extras={"language": "python", "max_turns": 1}
        )
        prompt, _ = env.init(PROMPT)
        assert prompt == PROMPT
        try:
            step = env.step(code)
        except Exception as error:  # noqa: BLE001  # the generator lets it pass, and the run ends
            steps.append(described(error))
        else:
            steps.append({name: step[name] for name in ("observations", "reward", "done")})
        env.close()
    show(
        version=version("skyrl-gym"), steps=steps, metrics=aggregate_for_environment("markbook", [])
    )


if __name__ == "__main__":
    main()
