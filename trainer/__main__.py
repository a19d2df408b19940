"""`python -m trainer`: train a student on marks from the scoring service."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import warnings
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shared.client import ClientError, RequestRejected, ScoringClient
from shared.config import ConfigError, load_config
from shared.contract import RunName
from shared.settings import Config
from trainer import interrupt
from trainer.runs import METRICS, changed, find_run, named

FINISHED, BAD_CONFIG, GAVE_UP, REJECTED, BUDGET_SPENT, INTERRUPTED = 0, 2, 3, 4, 5, 130

_EPILOG = """\
what a run leaves in its folder:
  adapter/        the trained adapter in PEFT's format: PeftModel.from_pretrained(base, FOLDER)
  summary.json    mean mark before and after, with its interval; counts, tokens, time
  metrics.jsonl   one line a step          samples.jsonl  every sample with its mark
  reward.png      mark and KL over steps   config.yaml    the configuration as used
  checkpoints/    the newest training.save_total_limit states to go on from, each with its adapter

A run that ended too early, killed included, goes on with --resume as if it had never stopped: the steps since its last
checkpoint are done again, with the same samples, whose marks are in the markbook and cost nothing.

MARKBOOK_API_KEY holds the key where the scoring service asks for one.

exit codes:
  0    finished
  2    the configuration, the model or the tasks cannot be used; nothing was trained
  3    the scoring service was away, or marked too few samples, for longer than rlaif.service_wait_s
  4    the scoring service refused a request, for good
  5    the budget for marks is spent: raise it at the scoring service, then --resume
  130  interrupted (Ctrl-C or SIGTERM)
After 3, 4, 5 and 130 the run folder is usable: the adapter as it was is saved in it.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train a student model with reinforcement learning on marks from the Markbook scoring service.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="configuration (default: $MARKBOOK_CONFIG, ./config.yaml)")
    parser.add_argument("--run-dir", metavar="DIR", type=Path, help="run folder (default: training.output_dir/RUN)")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        nargs="?",
        const="",
        help="go on with a run from its newest checkpoint: its name or folder; alone: rlaif.run, or the newest "
        "run. It keeps its own configuration unless --config names another",
    )
    options = parser.parse_args(arguments)
    interrupt.install()
    try:
        config = load_config(options.config)
        if options.resume is None:
            return _train(*_new_run(config, options.run_dir))
        run_dir = find_run(config, options.run_dir or options.resume)
        kept = load_config(run_dir / "config.yaml")
        return _train(changed(kept, config) if options.config else kept, run_dir, resume=True)
    except (ConfigError, ClientError) as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _new_run(config: Config, run_dir: Path | None) -> tuple[Config, Path]:
    """The configuration with the run's name, and a folder that holds no run yet."""
    run = config.rlaif.run or f"{time.strftime('%Y%m%d-%H%M%S')}-seed{config.training.seed}"
    run_dir = run_dir or Path(config.training.output_dir) / run
    if (run_dir / METRICS).exists():
        raise ConfigError(
            f"{run_dir} holds a run already: go on with it by --resume, or name another with rlaif.run or --run-dir"
        )
    return named(config, run), run_dir


def _train(config: Config, run_dir: Path, resume: bool = False) -> int:
    # Waiting threads of torch's pool give their core away; it has to be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Harmless: it lists keys that a saved adapter need not hold.
    warnings.filterwarnings("ignore", message=re.escape("Found missing adapter keys while loading the checkpoint: "))
    from trainer.loop import Trainer, evaluation_run
    from trainer.marks import GaveUp
    from trainer.shortage import BudgetSpent

    run = config.rlaif.run
    assert run
    try:
        TypeAdapter(RunName).validate_python(evaluation_run(run))
    except ValidationError as error:
        raise ConfigError(f"rlaif.run is {run!r}, which is no run name: {error.errors()[0]['msg']}") from error

    print(f"run {run}", flush=True)
    key = os.environ.get("MARKBOOK_API_KEY")  # a secret, so not in the file that each run folder gets a copy of
    with ScoringClient(config.rlaif.scoring_url, timeout_s=config.rlaif.request_timeout_s, api_key=key) as client:
        try:
            Trainer(config, run, run_dir, client, resume).run()
        except GaveUp as error:
            print(error, file=sys.stderr)
            return GAVE_UP
        except BudgetSpent as error:
            print(error, file=sys.stderr)
            return BUDGET_SPENT
        except RequestRejected as error:
            print(f"the scoring service refused: {error}", file=sys.stderr)
            return REJECTED
    return FINISHED


if __name__ == "__main__":
    sys.exit(main())
