"""Saved adapters: whole or not there, never half a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from trainer.policy import Policy


def save_checkpoint(policy: Policy, run_dir: Path, step: int) -> Path:
    """Save the adapter as `checkpoints/step-N`; once it is whole, the ones before it go."""
    folder = run_dir / "checkpoints" / f"step-{step}"
    _save(policy, folder)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)
    return folder


def save_final(policy: Policy, run_dir: Path) -> Path:
    """Save the adapter as `adapter`, whatever step the run ended at."""
    folder = run_dir / "adapter"
    _save(policy, folder)
    return folder


def _save(policy: Policy, folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    policy.save_adapter(temporary)
    temporary.rename(folder)
