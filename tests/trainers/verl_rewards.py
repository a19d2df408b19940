"""verl's reward loop, with its own default configuration, on `markbook.adapters.verl` as custom
reward function.

Options: `url`, `student` (a folder with a tokenizer) and `rounds`, one after the other. Each may
replace `url` and `wait_s`, and has `manager`, `codes`, and where needed `reward` (further keys of
verl's section of that name), `control` (a reward function that raises an ordinary Exception,
instead of the adapter) and `ray` (in the last round: through verl's RewardLoopManager and its
worker processes, instead of one worker in this process).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.trainers.report import described, options, show

TASK = "Write a function `area(width, height)` that returns the area of a rectangle."


async def control(**_: Any) -> float:
    raise RuntimeError("no reward")


def configured(chosen: dict[str, Any]) -> Any:
    import verl
    from omegaconf import OmegaConf

    defaults = Path(verl.__file__).parent / "trainer" / "config" / "_generated_ppo_trainer.yaml"
    function = {
        "path": "pkg://markbook.adapters.verl",
        "name": "compute_score",
        "reward_kwargs": {
            "run": chosen.get("run", "verl"),
            "language": "python",
            "url": chosen["url"],
            "wait_s": chosen["wait_s"],
        },
    }
    if chosen.get("control"):
        function = {"path": "pkg://tests.trainers.verl_rewards", "name": "control"}
    reward = {
        "num_workers": 2,
        "reward_manager": {"name": chosen["manager"]},
        "custom_reward_function": function,
        **chosen.get("reward", {}),
    }
    student = {"actor_rollout_ref": {"model": {"path": chosen["student"]}}}
    return OmegaConf.merge(OmegaConf.load(defaults), {"reward": reward}, student)


def rollouts(codes: list[str], student: str, task: str = TASK) -> Any:
    """The batch that verl's agent loop would hand to the reward loop: prompts padded left,
    responses right.
    """
    from tensordict import TensorDict
    from transformers import AutoTokenizer
    from verl import DataProto

    tokenizer = AutoTokenizer.from_pretrained(student)
    prompt = torch.tensor([tokenizer.encode(task, add_special_tokens=False)] * len(codes))
    written = [tokenizer.encode(code, add_special_tokens=False) for code in codes]
    length = max(map(len, written))
    responses = torch.tensor(
        [ids + [tokenizer.pad_token_id] * (length - len(ids)) for ids in written]
    )
    mask = torch.tensor(
        [[1] * (prompt.shape[1] + len(ids)) + [0] * (length - len(ids)) for ids in written]
    )
    batch = TensorDict(
        {"prompts": prompt, "responses": responses, "attention_mask": mask}, batch_size=len(codes)
    )
    rows = {
        "data_source": np.array(["markbook/test"] * len(codes), dtype=object),
        "reward_model": np.array([{"ground_truth": ""} for _ in codes], dtype=object),
        "extra_info": np.array([{"prompt": task} for _ in codes], dtype=object),
    }
    return DataProto(batch=batch, non_tensor_batch=rows)


def in_this_process(config: Any, data: Any) -> list[Any]:
    from verl.experimental.reward_loop import RewardLoopWorker

    worker = RewardLoopWorker(config)

    async def all_at_once() -> list[Any]:
        calls = [worker.compute_score(data[index : index + 1]) for index in range(len(data))]
        return await asyncio.gather(*calls, return_exceptions=True)

    return worker.loop.run_until_complete(all_at_once())


def through_ray(config: Any, data: Any) -> tuple[list[Any], list[float] | None]:
    """One call per sample, as verl's agent loop makes them; then the batch, unless a sample has
    no reward.
    """
    import ray
    from verl.experimental.reward_loop import RewardLoopManager

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    manager = RewardLoopManager(config)
    workers = manager.reward_loop_worker_handles
    calls = [
        workers[i % len(workers)].compute_score.remote(data[i : i + 1]) for i in range(len(data))
    ]
    results: list[Any] = []
    for call in calls:
        try:
            results.append(ray.get(call))
        except ray.exceptions.RayTaskError as error:
            results.append(error)
    try:
        scores = manager.compute_rm_score(data).batch["rm_scores"].sum(dim=1).tolist()
    except ray.exceptions.RayTaskError:
        scores = None
    ray.shutdown()
    return results, scores


def main() -> None:
    import verl

    chosen = {"wait_s": 5.0, **options()}
    rewards, batch = [], None
    for each in chosen["rounds"]:
        config, data = configured({**chosen, **each}), rollouts(each["codes"], chosen["student"])
        if each.get("ray"):
            results, batch = through_ray(config, data)
        else:
            results = in_this_process(config, data)
        rewards.append(
            [
                described(one) if isinstance(one, BaseException) else one["reward_score"]
                for one in results
            ]
        )
    show(version=verl.__version__, rewards=rewards, batch=batch)


if __name__ == "__main__":
    main()
