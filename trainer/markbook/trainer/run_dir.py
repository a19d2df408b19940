"""Which run, in which folder, with which configuration. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path

from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.terminal import printable

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
"""The logs of a run. A folder that has the first holds a run."""


def write(file: Path, text: str) -> None:
    """All of it or nothing: a run may be killed at any moment."""
    temporary = file.with_name(f".{file.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


def check_writable(folder: Path) -> None:
    """Raise ConfigError where `folder` cannot be made or written: before a model is loaded,
    which can take minutes.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"cannot write to {folder}: {there} is "
            f"{'not yours to write' if there.is_dir() else 'a file'}"
        )


def with_run_name(config: Config, run: str) -> Config:
    return config.model_copy(update={"rlaif": config.rlaif.model_copy(update={"run": run})})


def find_run(config: Config, which: str | Path) -> Path:
    """The folder of a run by its folder or name; of none named, `rlaif.run` or else the newest
    in `output_dir`.
    """
    home = Path(config.training.output_dir)
    runs = sorted(home.glob(f"*/{METRICS}"), key=lambda file: file.stat().st_mtime)
    if which or config.rlaif.run:
        folder = (
            Path(which)
            if which and (Path(which) / METRICS).exists()
            else home / (which or config.rlaif.run or "")
        )
        if not (folder / METRICS).exists():
            newest = f"; the newest one is {runs[-1].parent}" if runs else ""
            raise ConfigError(f"there is no run in {folder}{newest}")
        return folder
    if not runs:
        raise ConfigError(f"there is no run in {home} (training.output_dir)")
    return runs[-1].parent


def merge_resumed_config(kept: Config, now: Config) -> Config:
    """`now` under the run's name; logs how it differs from the run's own configuration."""
    assert kept.rlaif.run
    now = with_run_name(now, kept.rlaif.run)
    before, after = kept.model_dump(), now.model_dump()
    for section in ("training", "rlaif"):
        for key, value in after[section].items():
            if value != before[section][key]:
                was = before[section][key]
                print(
                    printable(f"changed since: {section}.{key} was {was}, is {value}"), flush=True
                )
    return now


def evaluation_run(run: str) -> str:
    """The name under which the service counts a run's evaluations, apart from its training."""
    return f"{run}/eval"
