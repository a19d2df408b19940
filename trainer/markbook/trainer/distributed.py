"""The processes of one run: what each does, and what they exchange.

A single process does everything.

    accelerate launch --multi_gpu --num_processes 4 -m markbook.trainer --config config.yaml

Every process holds the student and goes through the same steps. They share what is slow: each
writes the samples of its tasks, asks for their marks, and reads its part of the micro-batches.
Samples and marks are then sent to all, so that each computes the same advantages, and takes the
same decisions, as one process would on the whole batch.

Gradients are added up once a step. DistributedDataParallel is not needed for that: the weights that
train are few, its mean would have to be undone (the loss is over the whole batch already), and it
wants every process to go backward equally often.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object, reduce
from torch import nn

from markbook.client import ClientError
from markbook.config.loading import ConfigError
from markbook.trainer.errors import RankLostError, RunStoppedError
from markbook.trainer.utils import signals

T = TypeVar("T")

CLEAN_EXITS = (ConfigError, ClientError, RunStoppedError)
"""What one process meets and all of them end with."""

STRAGGLER_TIMEOUT_S = 3600.0
"""Seconds that one process may be behind another, beyond what it may wait for the service."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process, `rank` of `world_size`.

    Each method that exchanges something has to be called by all of them.
    """

    rank: int = 0
    world_size: int = 1

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of what has to be done."""
        return items[self.rank :: self.world_size]

    def gather(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives in each process."""
        mine = self.all_or_raise(work)
        return self._collective(lambda: gather_object([mine])) if self.world_size > 1 else [mine]

    def on_main(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, which alone does it."""
        return self.gather(lambda: work() if self.rank == 0 else None)[0]  # type: ignore[return-value]

    def all_or_raise(self, work: Callable[[], T]) -> T:
        """What `work` gives here, once it has gone well everywhere.

        An orderly end of one is raised in all.
        """
        if self.world_size == 1:
            return work()
        done: list[T] = []
        error: Exception | None = None
        try:
            done.append(work())
        except CLEAN_EXITS as end:
            error = end
        for found in self._collective(lambda: gather_object([error])):
            if found is not None:
                raise found
        return done[0]

    def barrier(self) -> None:
        """Until all are here."""
        self.gather(lambda: None)

    def all_reduce_sum(self, *numbers: float) -> list[float]:
        return [sum(column) for column in zip(*self.gather(lambda: numbers), strict=True)]

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """The gradient of each becomes the sum over the processes, to the last bit the same in
        all.
        """
        if self.world_size == 1:
            return
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        flat = torch.cat([grad.flatten() for grad in found])
        total: torch.Tensor = self._collective(lambda: reduce(flat, "sum"))
        for one, part in zip(
            parameters, torch.split(total, [one.numel() for one in parameters]), strict=True
        ):
            one.grad = part.view_as(one)

    @contextmanager
    def folder(self, run_dir: Path, logs: Iterable[str]) -> Iterator[Path]:
        """Where this process writes: the first in the run's folder, any other in a temporary
        folder.

        So all of them write the same files, and one copy is kept. `logs`: files there that are
        appended to.
        """
        if self.rank == 0:
            yield run_dir
            return
        with tempfile.TemporaryDirectory(prefix="markbook-") as nowhere:
            for name in logs:
                shutil.copy(run_dir / name, nowhere)
            yield Path(nowhere)

    def _collective(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except RuntimeError as error:
            signals.check()  # it may have been interrupted with us
            raise RankLostError(
                "another process of this run has ended: see its error above"
            ) from error


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def launched(device: torch.device, wait_s: float) -> Iterator[ProcessGroup]:
    """The processes that `accelerate launch` started, until all of them are done.

    Started by itself: one.

    `wait_s`: seconds that one may wait for the service while the others wait for it.
    """
    limit = timedelta(seconds=STRAGGLER_TIMEOUT_S + wait_s)
    accelerator = Accelerator(
        cpu=device.type == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=limit)]
    )
    ranks = ProcessGroup(accelerator.process_index, accelerator.num_processes)
    try:
        yield ranks
    except CLEAN_EXITS:
        ranks.barrier()  # the launcher ends those that are still saving
        raise
    ranks.barrier()
    accelerator.state.destroy_process_group()
