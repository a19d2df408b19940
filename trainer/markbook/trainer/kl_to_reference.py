"""KL of a policy to its reference, for the tokens of a micro-batch and for whole samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from markbook.config.settings import Config, Rlaif
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.micro_batches import gather_within_memory
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import Reference
from markbook.trainer.objective import kl
from markbook.trainer.types import Sample


def token_kl(
    policy: Policy, reference: Reference, samples: Sequence[Sample], states: Tensor, log_probs: Tensor, rlaif: Rlaif
) -> Tensor:
    """(N,) nats, by the estimator of `rlaif`; `states` and `log_probs` are the policy's."""
    temperature = rlaif.generation_temperature
    if rlaif.kl_estimator == "exact":
        return policy.exact_kl(states, reference.states(samples), temperature)
    return kl.estimate(log_probs, reference.log_probs(samples, temperature), rlaif.kl_estimator)


def sample_kl(
    policy: Policy,
    reference: Reference,
    samples: Sequence[Sample],
    config: Config,
    ranks: ProcessGroup = SINGLE_PROCESS,
    micro_batch_size: int | None = None,
) -> list[float]:
    """Nats a sample, its tokens summed, without gradients. `micro_batch_size`, GpuMemoryError: as for `accumulate`.

    As a part of the reward: r = mark - coefficient x KL of the whole sample. Source: RLOO, https://arxiv.org/abs/2402.14740.
    """
    size = micro_batch_size or config.training.micro_batch_size
    order = sorted(range(len(samples)), key=lambda place: by_prompt_and_length(samples[place]))
    shard = ranks.shard([order[start : start + size] for start in range(0, len(order), size)])
    parts = gather_within_memory(lambda: _kl_of(policy, reference, samples, shard, config.rlaif), ranks, size)
    return [sum(column) for column in zip(*parts, strict=True)]


def _kl_of(
    policy: Policy,
    reference: Reference,
    samples: Sequence[Sample],
    micro_batches: Sequence[Sequence[int]],
    rlaif: Rlaif,
) -> list[float]:
    """Nats a sample, 0 for those that are in no micro-batch of this process."""
    found: list[Tensor] = []
    done: list[int] = []
    for places in micro_batches:
        batch = [samples[place] for place in places]
        with torch.no_grad():
            states = policy.states(batch)
            log_probs = policy.log_probs(batch, rlaif.generation_temperature, states)
        nats = token_kl(policy, reference, batch, states, log_probs, rlaif)
        parts = torch.split(nats, [len(sample.ids) for sample in batch])
        found += [part.sum() for part in parts]
        done += places
    by_sample = [0.0] * len(samples)
    for place, value in zip(done, torch.stack(found).tolist() if found else [], strict=True):
        by_sample[place] = value
    return by_sample


def by_prompt_and_length(sample: Sample) -> tuple[int, int]:
    """The order in which neighbours share a prompt and a length: less is read twice, less is padding."""
    return sample.task.index, len(sample.ids)
