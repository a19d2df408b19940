"""What a run folder holds of its run as a whole: config.yaml as used, summary.json, the
adapter's card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from markbook.config.loading import ConfigError, without_secrets
from markbook.config.settings import Config
from markbook.trainer.checkpoint import Progress
from markbook.trainer.model_card import Origin, write_model_card
from markbook.trainer.monitoring.evaluation import summarize
from markbook.trainer.run_dir import write
from markbook.trainer.types import Metrics
from markbook.trainer.utils.timer import STEP


def write_config(config: Config, run_dir: Path) -> None:
    as_used = yaml.safe_dump(without_secrets(config), sort_keys=False, allow_unicode=True)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        write(run_dir / "config.yaml", as_used)
    except OSError as error:
        raise ConfigError(f"cannot write to the run folder {run_dir}: {error.strerror}") from error


def write_summary(
    run_dir: Path,
    run: str,
    ended: str,
    progress: Progress,
    history: Sequence[Metrics],
    base_unchanged: bool,
    origin: Origin,
) -> None:
    """summary.json, and the same for people as the card of the adapter, which is saved already."""
    seconds = dict.fromkeys(STEP, 0.0)
    for line in history:
        for what in STEP:
            seconds[what] += line[f"seconds_{what}"]
    summary = {
        "run": run,
        "ended": ended,
        **origin.as_json(),
        "steps": len(history),
        "skipped_steps": sum(line["skipped"] is not None for line in history),
        **summarize(progress.evaluations, progress.step),
        "base_unchanged": base_unchanged,
        **{
            phase: counters.model_dump(mode="json") for phase, counters in progress.counters.items()
        },
        "seconds": {
            "loading": progress.seconds["loading"],
            **seconds,
            "evaluation": progress.seconds.get("evaluation", 0.0),
        },
    }
    write(run_dir / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    write_model_card(run_dir, origin, summary)
