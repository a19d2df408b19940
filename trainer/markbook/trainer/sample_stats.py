"""What policy and reference say of samples: the KL of tokens; without gradients the KL and
log-probs of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from markbook.config.settings import Config, Rlaif
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.micro_batches import gather_within_memory
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import Reference
from markbook.trainer.objective import kl
from markbook.trainer.types import Sample


@dataclass(frozen=True, slots=True)
class RewardKl:
    """KL as a part of the reward.

    `penalties` (N,): coefficient x nats per sample. `per_token`: mean, nats.
    """

    penalties: Tensor
    per_token: float


def token_kl(
    policy: Policy,
    reference: Reference,
    samples: Sequence[Sample],
    states: Tensor,
    log_probs: Tensor,
    rlaif: Rlaif,
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
    """Nats per sample, its tokens summed, without gradients.

    `micro_batch_size`, GpuMemoryError: as for `accumulate`.

    As a part of the reward: r = mark - coefficient x KL of the whole sample. Source: RLOO,
    https://arxiv.org/abs/2402.14740.
    """

    def read(batch: Sequence[Sample]) -> Tensor:
        states = policy.states(batch)
        log_probs = policy.log_probs(batch, config.rlaif.generation_temperature, states)
        return token_kl(policy, reference, batch, states, log_probs, config.rlaif)

    parts = _read_all(samples, config, ranks, read, micro_batch_size)
    return torch.stack([part.sum() for part in parts]).tolist() if parts else []


def sample_log_probs(
    policy: Policy,
    samples: Sequence[Sample],
    config: Config,
    ranks: ProcessGroup = SINGLE_PROCESS,
    micro_batch_size: int | None = None,
) -> list[tuple[float, ...]]:
    """Log-probabilities of each sample's tokens under `policy` as it learns, without gradients. The
    sampler's differ by its arithmetic: merged weights, another batch, another program.
    `micro_batch_size`, GpuMemoryError: as for `accumulate`.
    """
    temperature = config.rlaif.generation_temperature
    found = _read_all(
        samples, config, ranks, lambda batch: policy.log_probs(batch, temperature), micro_batch_size
    )
    return [tuple(part.tolist()) for part in found]


def by_task_and_length(sample: Sample) -> tuple[int, int]:
    """Sort key of micro-batches: neighbours share a prompt and a length, so less is read twice,
    less is padding.
    """
    return sample.task.index, len(sample.ids)


@torch.no_grad()
def _read_all(
    samples: Sequence[Sample],
    config: Config,
    ranks: ProcessGroup,
    read: Callable[[Sequence[Sample]], Tensor],
    micro_batch_size: int | None,
) -> list[Tensor]:
    """What `read` gives for the tokens of each sample, in the order of `samples`; processes
    share the micro-batches.
    """
    size = micro_batch_size or config.training.micro_batch_size
    order = sorted(range(len(samples)), key=lambda place: by_task_and_length(samples[place]))
    shard = ranks.shard([order[start : start + size] for start in range(0, len(order), size)])

    def read_shard() -> dict[int, Tensor]:
        found: list[Tensor] = []
        for places in shard:
            batch = [samples[place] for place in places]
            found.append(read(batch))
        if not found:
            return {}
        done = [place for places in shard for place in places]
        lengths = [len(samples[place].ids) for place in done]
        parts = torch.split(torch.cat(found).cpu(), lengths)  # one copy from the device
        # a view is sent to the other processes with all of its storage
        return dict(zip(done, [part.clone() for part in parts], strict=True))

    shards = gather_within_memory(read_shard, ranks, size)
    everything: dict[int, Tensor] = {}
    for found in shards:
        everything |= found
    return [everything[place] for place in range(len(samples))]
