"""OpenRLHF's single-turn executor with its remote reward URL.

Options: `url`, `student` (a tokenizer), `codes`.
"""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from tests.trainers.report import options, show

TASK = "Write a function `area(width, height)` that returns the area of a rectangle."


class Engine:
    """Stands in for vLLM: each call writes the next of `codes`."""

    def __init__(self, codes: list[str], tokenizer: Any) -> None:
        self._codes, self._tokenizer = iter(codes), tokenizer

    async def generate(self, _prompt: list[int], _params: Any, **_: Any) -> Any:
        code = next(self._codes)
        ids = [
            *self._tokenizer.encode(code, add_special_tokens=False),
            self._tokenizer.eos_token_id,
        ]
        written = SimpleNamespace(token_ids=ids, text=code, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[written])


async def main() -> None:
    from openrlhf.utils.agent import SingleTurnAgentExecutor
    from transformers import AutoTokenizer

    chosen = options()
    tokenizer = AutoTokenizer.from_pretrained(chosen["student"])
    executor, engine = SingleTurnAgentExecutor(chosen["url"]), Engine(chosen["codes"], tokenizer)
    messages = [{"role": "user", "content": TASK}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    sampling = SimpleNamespace(max_tokens=256, logprobs=None)
    outputs = [
        await executor.execute(
            prompt, json.dumps({"prompt": TASK}), sampling, 2048, tokenizer, engine
        )
        for _ in chosen["codes"]
    ]
    kept = [{name: each[name] for name in ("reward", "scores", "extra_logs")} for each in outputs]
    show(version=version("openrlhf"), outputs=kept)


if __name__ == "__main__":
    asyncio.run(main())
