"""verl's reward loop on several tasks at a time, for the benchmark of gathering: how long each
reward took.

Options: `urls` (services, by a name) and `runs` (names of runs, by the same), `tasks` (at a time),
`group` (samples of each) and `rounds`, which alternate between the services. A round before these
warms up, in the run WARM_UP.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from tests.trainers.report import options, show
from tests.trainers.verl_rewards import TASK, configured, rollouts

WARM_UP = "warm-up"
_numbers = count()


def batches(chosen: dict[str, Any]) -> list[Any]:
    """One per task, whose samples no service has seen."""
    made = []
    for _ in range(chosen["tasks"]):
        task = f"{TASK} This is task {next(_numbers)} of those sent {chosen['tasks']} at a time."
        code = "def area(width, height):\n    return width * height + "
        codes = [f"{code}{next(_numbers)}" for _ in range(chosen["group"])]
        made.append(rollouts(codes, chosen["student"], task))
    return made


def one_round(worker: Any, data: list[Any]) -> list[float]:
    """Seconds of each reward, all requested at once and those of a task one after the other."""

    async def timed(sample: Any) -> float:
        begun = time.perf_counter()
        await worker.compute_score(sample)
        return time.perf_counter() - begun

    async def all_at_once() -> list[float]:
        samples = [each[place : place + 1] for each in data for place in range(len(each))]
        return await asyncio.gather(*map(timed, samples))

    return worker.loop.run_until_complete(all_at_once())


def measure(chosen: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds of each reward, by the name of the service."""
    from verl.experimental.reward_loop import RewardLoopWorker

    took_s: dict[str, list[float]] = {name: [] for name in chosen["urls"]}
    workers = {}
    for name, url in chosen["urls"].items():
        one_round(
            RewardLoopWorker(configured({**chosen, "url": url, "run": WARM_UP})), batches(chosen)
        )
        workers[name] = RewardLoopWorker(
            configured({**chosen, "url": url, "run": chosen["runs"][name]})
        )
    for _ in range(chosen["rounds"]):
        for name, worker in workers.items():
            took_s[name] += one_round(worker, batches(chosen))
    return took_s


def main() -> None:
    import verl

    from tests.tiny import tiny_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        tiny_tokenizer().save_pretrained(folder)
        (Path(folder) / "config.json").write_text('{"model_type": "llama"}')
        took_s = measure({"wait_s": 60.0, "manager": "naive", "student": folder, **options()})
    show(version=verl.__version__, took_s=took_s)


if __name__ == "__main__":
    main()
