"""A verifiers task, scored by verifiers on our marks: as a reward of its configuration, and by a
Judge.

Options: `url`, `codes`, `via` (`reward` or `judge`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import verifiers
import verifiers.v1 as vf
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import AgentInfo, Trace, TraceTask

from markbook.adapters.verifiers import markbook_reward
from tests.trainers.report import options, show

CHOSEN = options()
reward = markbook_reward(run="verifiers", url=CHOSEN["url"], wait_s=5.0)
"""What `--env.taskset.task.rewards.markbook.fn` names."""


class CodeData(vf.TaskData):
    language: str = "python"
    tests: tuple[str, ...] = ()


class CodeTask(vf.Task[CodeData]):
    pass


class MarkbookJudge(vf.Judge[float]):
    async def score(self, task: vf.TaskData, trace: vf.Trace) -> float:
        return await reward(task, trace)


class JudgedTask(CodeTask):
    def plugged_judges(self) -> list[vf.Judge]:
        return [MarkbookJudge(vf.JudgeConfig(weight=0.5))]


def build_task() -> CodeTask:
    data = CodeData(
        prompt="Write a function `area(width, height)` that returns the area of a rectangle."
    )
    if CHOSEN["via"] == "judge":
        return JudgedTask(data)
    fn = {"markbook": {"fn": "tests.trainers.verifiers_rewards:reward"}}
    return CodeTask(data, vf.TaskConfig.model_validate({"rewards": fn}))


async def scored(code: str) -> dict[str, Any]:
    """As `Rollout.close` does it: an error is recorded on the trace, and the trace is not ok."""
    task = build_task()
    info = AgentInfo(config=vf.AgentConfig())
    trace = Trace(task=TraceTask(type=type(task).__name__, data=task.data), agent=info)
    trace.nodes.append(MessageNode(message=vf.AssistantMessage(content=code), sampled=True))
    try:
        await task.score(trace)
        trace.ok = True
    except vf.TaskError as error:
        trace.record_error(error)
    rewards = {name: each and [each.score, each.weight] for name, each in trace.rewards.items()}
    return {
        "ok": trace.ok,
        "rewards": rewards,
        "error": trace.last_error and trace.last_error.message,
    }


async def main() -> None:
    traces = await asyncio.gather(*(scored(code) for code in CHOSEN["codes"]))
    show(version=verifiers.__version__, traces=traces)


if __name__ == "__main__":
    asyncio.run(main())
