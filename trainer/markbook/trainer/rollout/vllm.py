"""Sampling by a generation server: each sample from its own seed, drawn by the adapter of this
very step.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from markbook.client import RetryPolicy, ServiceUnavailableError
from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.model.policy import Policy
from markbook.trainer.rollout.hf import Ending, Sampler
from markbook.trainer.rollout.vllm_client import (
    KEY_VARIABLE,
    AdapterLostError,
    Completion,
    VllmClient,
)
from markbook.trainer.rollout.vllm_server import VllmServer
from markbook.trainer.types import Sample, Task

VERIFIED_SAMPLES = 4
"""Samples whose log-probabilities are compared with the trainer's own before any is used."""
MAX_LOG_PROB_GAP = 0.5
"""Nats a token between server and trainer.

Number formats make hundredths, another model makes whole nats.
"""
WARN_LOG_PROB_GAP = 0.02


class VllmSampler:
    """Draws samples as `Sampler` does, by a server. The same stream asks with the same seeds;
    whether the same samples come is the server's matter (vLLM's do, to float noise).

    `folder`: where the adapter is put for the server to read; it is emptied. Adapters go under
    names of their own, for servers keep what they read of a prompt under the adapter's name:
    https://github.com/vllm-project/vllm/issues/42125. `own`: the server to use in place of
    `training.generation_url`; started with the first samples, closed by `close`.
    """

    def __init__(
        self,
        policy: Policy,
        config: Config,
        folder: Path,
        log: Callable[[str], None],
        own: VllmServer | None = None,
    ) -> None:
        assert config.rlaif.run
        self._own = own
        self._url = own.url if own else _checked_address(config.training.generation_url)
        self._key = own.key if own else os.environ.get(KEY_VARIABLE)
        self._policy, self._config, self._folder, self._say = policy, config, folder.absolute(), log
        self._ended = Ending(policy)
        self._prefix = f"{config.rlaif.run}@"
        self._adapter: str | None = None
        self._updates = -1
        self._away = self._checked = self._asleep = False
        self._retry_policy = RetryPolicy(config.training.generation_wait_s, self._note)

    def groups(
        self,
        tasks: Sequence[Task],
        num_generations: int,
        seed_stream: tuple[int, ...],
        shard: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place, samples)` for every task as soon as its last sample is written; `shard` as
        in `Sampler`.

        Raises ServiceTimeoutError where the server stays away, ConfigError where its answers cannot
        be used.
        """
        shard = range(len(tasks)) if shard is None else shard
        if not shard:
            return
        training = self._config.training
        if self._own:
            self._own.start()
        server = VllmClient(self._url, self._key, training.generation_batch_size)
        started: list[asyncio.Task[tuple[int, list[Sample]]]] = []
        with asyncio.Runner() as runner:
            try:
                runner.run(self._wake(server))
                runner.run(self.sync_weights(server))
                started = [
                    runner.get_loop().create_task(
                        self._group(server, tasks[place], place, num_generations, seed_stream)
                    )
                    for place in shard
                ]
                pending = set(started)
                while pending:
                    done, pending = runner.run(_first_of(pending))
                    for place, samples in sorted(
                        (task.result() for task in done), key=lambda found: found[0]
                    ):
                        self.verify_logprobs(samples)
                        yield place, samples
                runner.run(self._sleep(server))
            except ServiceUnavailableError as error:
                wait_s = training.generation_wait_s
                raise ServiceTimeoutError(
                    f"{error}; gave up after training.generation_wait_s ({wait_s:g} s)"
                ) from error
            finally:
                for task in started:
                    task.cancel()
                runner.run(_ended(started, server))

    def close(self) -> None:
        """End the server, if it is this run's own."""
        if self._own:
            self._own.close()

    async def _wake(self, server: VllmClient) -> None:
        if self._asleep:
            await self._retry_policy.run(server.wake_up)
            self._asleep = False

    async def _sleep(self, server: VllmClient) -> None:
        """Until the next samples the GPU's memory is the trainer's."""
        if self._own and self._own.sleeps:
            await self._retry_policy.run(server.sleep)
            self._asleep = True

    async def _group(
        self,
        server: VllmClient,
        task: Task,
        place: int,
        num_generations: int,
        seed_stream: tuple[int, ...],
    ) -> tuple[int, list[Sample]]:
        samples = [
            self._sample(server, task, (*seed_stream, place, k)) for k in range(num_generations)
        ]
        return place, await asyncio.gather(*samples)

    async def _sample(self, server: VllmClient, task: Task, seed_stream: tuple[int, ...]) -> Sample:
        training, updates, adapter = self._config.training, self._updates, self._adapter
        assert adapter
        request: dict[str, Any] = {
            "model": adapter,
            "prompt": list(task.token_ids),
            "max_tokens": training.max_new_tokens,
            "temperature": self._config.rlaif.generation_temperature,
            "seed": int(np.random.default_rng((training.seed, *seed_stream)).integers(2**63)),
            "stop_token_ids": sorted(self._policy.end_ids),
            # the whole distribution, whatever the model's generation_config.json says
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }

        async def attempt() -> Completion:
            try:
                return await server.complete(request, self._ended)
            except AdapterLostError:
                await server.load(adapter, self._folder / adapter)
                raise

        drawn = await self._retry_policy.run(attempt)
        text = self._policy.tokenizer.decode(drawn.ids, skip_special_tokens=True)
        return Sample(task, drawn.ids, text, drawn.truncated, drawn.log_probs, updates)

    async def sync_weights(self, server: VllmClient) -> None:
        """Have the server hold this step's adapter, and of this run no other."""
        if self._updates == self._policy.updates:
            return
        await self._retry_policy.run(lambda: server.unload(self._prefix))
        shutil.rmtree(self._folder, ignore_errors=True)
        adapter = f"{self._prefix}{self._policy.updates}.{uuid.uuid4().hex[:8]}"
        self._policy.save_adapter(self._folder / adapter)
        await self._retry_policy.run(lambda: server.load(adapter, self._folder / adapter))
        self._adapter, self._updates = adapter, self._policy.updates

    @torch.no_grad()
    def verify_logprobs(self, samples: Sequence[Sample]) -> None:
        """Once, before anything is learned: the server's log-probabilities have to be the
        policy's.
        """
        if self._checked:
            return
        samples, temperature = samples[:VERIFIED_SAMPLES], self._config.rlaif.generation_temperature
        theirs = torch.tensor(
            [value for sample in samples for value in sample.log_probs], device=self._policy.device
        )
        gap = (self._policy.log_probs(samples, temperature) - theirs).abs().mean().item()
        raw_gap = (self._policy.log_probs(samples, 1.0) - theirs).abs().mean().item()
        url = self._url
        if gap > WARN_LOG_PROB_GAP and raw_gap < gap / 2:
            raise ConfigError(
                f"the generation server at {url} gives log-probabilities without the temperature: "
                "start vLLM with --logprobs-mode processed_logprobs"
            )
        if gap > MAX_LOG_PROB_GAP:
            raise ConfigError(
                f"the generation server at {url} serves another model than training.model: "
                f"its log-probabilities are {gap:.2f} nats per token away from the trainer's"
            )
        self._checked = True

    def _note(self, failure: ServiceUnavailableError | None) -> None:
        """One line when the server goes away, one when it is back, however many samples wait."""
        if failure is not None and self._own and self._own.restart_if_ended():
            self._asleep = False
        changed, self._away = self._away != (failure is not None), failure is not None
        if changed and failure is not None:
            self._say(f"{failure}; retrying for up to {self._retry_policy.wait_s:g} s")
        elif changed:
            self._say("the generation server answers again")


def make_sampler(
    policy: Policy, config: Config, run_dir: Path, log: Callable[[str], None]
) -> Sampler | VllmSampler:
    """The sampler that `config` asks for: in this process, by a server of this run's own, or by the
    one at `training.generation_url`.
    """
    training = config.training
    if training.generation == "vllm":
        own = VllmServer(policy, training, run_dir / "vllm.log", log)
        return VllmSampler(policy, config, run_dir / "generation", log, own)
    if training.generation_url:
        return VllmSampler(policy, config, run_dir / "generation", log)
    return Sampler(
        policy,
        temperature=config.rlaif.generation_temperature,
        max_new_tokens=training.max_new_tokens,
        batch_size=training.generation_batch_size,
        seed=training.seed,
    )


async def _first_of(pending: set[Any]) -> tuple[set[Any], set[Any]]:
    return await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)


async def _ended(tasks: Sequence[asyncio.Task[Any]], server: VllmClient) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.close()


def _checked_address(url: str | None) -> str:
    assert url
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"training.generation_url {url} is not a valid URL: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigError(
            f"training.generation_url {url} is not a valid URL: it looks like http://HOST:8000"
        )
    return url
