"""Checkpoints: all that a run needs to continue as if it had never stopped, complete on disk or
absent.

    checkpoints/step-N/   the adapter in PEFT's format
                          progress.json   where the run stands
                          state.pt        optimizer, updates done, coefficient of the KL, torch's
                                          random numbers of each process, samples whose marks were
                                          still to come
Sampling and the order of tasks have seeds of their own, by step: the step is the position in the
data.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from markbook.contract import Counters
from markbook.trainer.model.policy import Policy
from markbook.trainer.monitoring.evaluation import Evaluation

START = "start"
"""The checkpoint of a run that has done nothing yet: its identity is kept from the first moment
on.
"""


@dataclass
class Progress:
    """Where a run stands. `step`: the last one done. `begun`: the evaluation before it is done.
    `logs`: bytes of each log that belong to it. `evaluations`: by the step after which they were
    done. `outcomes`: by task, of its last group in training, the samples that passed their tests
    and those tested.

    `run_id` distinguishes this run from others of its name: requests of a repeated step carry the
    same id, so that the service counts them once. `base`: checksum of the frozen weights.
    """

    base: str
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    step: int = 0
    begun: bool = False
    logs: dict[str, int] = field(default_factory=dict)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    outcomes: dict[int, tuple[int, int]] = field(default_factory=dict)
    counters: dict[str, Counters] = field(
        default_factory=lambda: {"training": Counters(), "evaluation": Counters()}
    )
    seconds: dict[str, float] = field(default_factory=dict)

    def request_id(self, *of: object) -> str:
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{self.run_id} {of}").hex


_PROGRESS = TypeAdapter(Progress)


def save_checkpoint(
    run_dir: Path,
    name: str,
    policy: Policy,
    progress: Progress,
    state: Mapping[str, Any],
    keep: int,
) -> None:
    """Save as `checkpoints/NAME`; once it is whole, all but the newest `keep` go. One that is there
    already stays: the same step of the same run is the same.
    """
    folder = run_dir / "checkpoints" / name
    if not folder.exists():
        temporary = _fresh(folder)
        policy.save_adapter(temporary)
        torch.save(dict(state), temporary / "state.pt")
        (temporary / "progress.json").write_bytes(_PROGRESS.dump_json(progress, indent=2))
        _publish(temporary, folder)
    for old in checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old)


def save_final(policy: Policy, run_dir: Path) -> None:
    """Save the adapter as `adapter`, whatever step the run ended at."""
    folder = run_dir / "adapter"
    temporary = _fresh(folder)
    policy.save_adapter(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    _publish(temporary, folder)


def checkpoints(run_dir: Path) -> list[Path]:
    """The whole ones, oldest first."""
    folder = run_dir / "checkpoints"
    later = sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    return [*folder.glob(START), *later]


def load_checkpoint(folder: Path, policy: Policy) -> tuple[Progress, dict[str, Any]]:
    """Put the adapter back; returns the rest."""
    progress = _PROGRESS.validate_json((folder / "progress.json").read_bytes())
    state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    policy.load_adapter(folder)
    return progress, state


def random_state(device: torch.device) -> dict[str, Any]:
    """Where torch's random numbers are, on the CPU and on `device`."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)


def _fresh(folder: Path) -> Path:
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def _publish(temporary: Path, folder: Path) -> None:
    """Give a folder its name once all that is in it is on the disk."""
    for path in (*temporary.iterdir(), temporary):
        sync(path)
    temporary.rename(folder)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
