"""`markbook train`: trains a student on marks from the scoring service."""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from markbook.cli.options import INTERRUPTED, ConfigOption, new_app
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.errors import MarkbookError
from markbook.trainer.run import BAD_CONFIG, is_main_process, report_end, run_training
from markbook.trainer.run_dir import (
    METRICS,
    check_writable,
    find_run,
    merge_resumed_config,
    with_run_name,
)
from markbook.trainer.utils import signals

_NOTES = """\
Files of a run, in its folder:
  adapter/        the trained adapter in PEFT's format
  summary.json    mean mark before and after with its interval; tokens, time
  metrics.jsonl   one line per step and per evaluation
  samples.jsonl   every sample with its mark
  samples.html    best, worst and most changed samples of each evaluation
  reward.png      mark and KL over steps
  config.yaml     the configuration as used
  tensorboard/    the metrics: tensorboard --logdir training.output_dir
  checkpoints/    the newest training.save_total_limit states, with adapters

A run that ended early, even by kill -9, continues with --resume as if it had
never stopped: the steps since its last checkpoint are repeated with the same
samples, whose marks are cached and cost nothing.

`markbook merge RUN OUT` merges the adapter into the model, for serving.

MARKBOOK_API_KEY is the key of a scoring service that requires one,
MARKBOOK_GENERATION_KEY that of a generation server.

Several GPUs: accelerate launch --multi_gpu --num_processes N
-m markbook.trainer [OPTIONS]; the launcher has its own exit status.

Exit status:
  0    finished
  2    the configuration, the model or the tasks cannot be used; nothing was
       trained
  3    the scoring service was away, or marked too few samples, for longer
       than rlaif.service_wait_s; or the generation server was away for longer
       than training.generation_wait_s
  4    the scoring service refused a request permanently
  5    the budget for marks is spent: raise it at the service, then --resume
  6    a check for reward hacking stopped it (rlaif.reward_hacking_action):
       read the samples, then --resume
  7    another process of a run on several GPUs was lost
  8    learning does not fit into the GPU's memory: lower
       training.micro_batch_size, then --resume
  130  interrupted (Ctrl-C or SIGTERM)
After 3 to 8 and 130 the adapter is saved and the run can be resumed."""

app = new_app(
    "Trains a student model with reinforcement learning on marks from the scoring service.",
    "markbook train --dry-run",
    "markbook train --config config.yaml",
    "markbook train --resume",
    notes=_NOTES,
)


class OptionalRunCommand(TyperCommand):
    """Lets --resume stand alone, which Typer has no declaration for: it then gets an empty
    value.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = [
            "--resume=" if each == "--resume" and after.startswith("-") else each
            for each, after in pairwise([*args, "--"])
        ]
        return super().parse_args(ctx, given)


@app.command(cls=OptionalRunCommand)
def train(
    run_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run folder (default: training.output_dir/RUN)."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Load everything, generate and score one group (which costs money), and stop.",
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[RUN]",
            help="Continue a run from its newest checkpoint: its name or folder; without a value "
            "rlaif.run, or the newest run. It keeps its own configuration unless --config is "
            "given.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    signals.install()
    if not is_main_process():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    try:
        status = _start(config, run_dir, dry_run, resume)
    except MarkbookError as error:
        status = report_end(BAD_CONFIG, error)
    except KeyboardInterrupt:
        status = report_end(INTERRUPTED, "interrupted")
    if status:
        raise typer.Exit(status)


def _start(file: Path | None, run_dir: Path | None, dry: bool, resume: str | None) -> int:
    if dry and resume is not None:
        raise ConfigError("--dry-run and --resume exclude each other: give one of them")
    config = load_config(file)
    if resume is None:
        return run_training(*_new_run(config, run_dir), dry=dry, config_file=file)
    run_dir = find_run(config, run_dir or resume)
    kept = load_config(run_dir / "config.yaml", old_names=True)
    return run_training(merge_resumed_config(kept, config) if file else kept, run_dir, resume=True)


def _new_run(config: Config, run_dir: Path | None) -> tuple[Config, Path]:
    """The configuration with the run's name, and a folder that holds no run yet."""
    run = config.rlaif.run or f"{time.strftime('%Y%m%d-%H%M%S')}-seed{config.training.seed}"
    run_dir = run_dir or Path(config.training.output_dir) / run
    if (run_dir / METRICS).exists():
        raise ConfigError(
            f"{run_dir} holds a run already: continue it with --resume, or choose another "
            "rlaif.run or --run-dir"
        )
    check_writable(run_dir)
    return with_run_name(config, run), run_dir
