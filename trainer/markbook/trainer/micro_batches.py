"""The size of micro-batches, halved once per run where the GPU's memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from markbook.trainer.checkpoint import random_state, set_random_state
from markbook.trainer.distributed import ProcessGroup
from markbook.trainer.errors import GpuMemoryError
from markbook.trainer.model.policy import Policy
from markbook.trainer.monitoring.metrics import log

T = TypeVar("T")


class MicroBatches:
    """`size`: samples per forward pass, at most `training.micro_batch_size`."""

    def __init__(self, configured: int) -> None:
        self.configured = self.size = configured

    def run(self, policy: Policy, work: Callable[[int], T]) -> T:
        """`work(size)`; where it raises GpuMemoryError, once more with half the size, from the same
        state.

        The gradients of the failed attempt are dropped and the random numbers of dropout are set
        back, so that the result is that of a run with the smaller size. Raises GpuMemoryError where
        the size has been halved before or is 1, or if the half is too much as well.
        """
        random = random_state(policy.device)
        try:
            return work(self.size)
        except GpuMemoryError:
            if self.size < self.configured or self.size == 1:
                raise
        # outside the handler: while it runs, the traceback keeps the tensors of the failed attempt
        _free(policy)
        set_random_state(random, policy.device)
        self.size = self.size // 2
        log(
            f"out of GPU memory with training.micro_batch_size {self.configured}: continuing with "
            f"{self.size}; the step is done again and nothing of it is lost"
        )
        try:
            return work(self.size)
        except GpuMemoryError:
            _free(policy)
            raise

    def state(self) -> dict[str, Any]:
        """For a checkpoint; empty unless the size was halved."""
        if self.size == self.configured:
            return {}
        return {"micro_batches": {"configured": self.configured, "size": self.size}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the size of a `state()`, unless the configuration has changed since."""
        kept = state.get("micro_batches")
        if kept and kept["configured"] == self.configured:
            self.size = kept["size"]


def gather_within_memory(work: Callable[[], T], ranks: ProcessGroup, size: int) -> list[T]:
    """What `work` gives in each process.

    Raises GpuMemoryError in all of them if the memory of one did not suffice.
    """

    def attempt() -> T | None:
        try:
            return work()
        except torch.OutOfMemoryError:
            return None

    found: list[T] = []
    for each in ranks.gather(attempt):
        if each is None:
            raise GpuMemoryError(
                f"out of GPU memory in learning with {size} samples at a time: lower "
                "training.micro_batch_size or set training.gradient_checkpointing, then --resume "
                "with that --config"
            )
        found.append(each)
    return found


def _free(policy: Policy) -> None:
    """Drop the gradients, and give back what the allocator holds of the failed attempt, in
    blocks of its sizes.
    """
    policy.model.zero_grad(set_to_none=True)
    if policy.device.type == "cuda":
        torch.cuda.empty_cache()
