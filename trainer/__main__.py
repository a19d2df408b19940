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

FINISHED, BAD_CONFIG, GAVE_UP, REJECTED, INTERRUPTED = 0, 2, 3, 4, 130

_EPILOG = """\
what a run leaves in its folder:
  adapter/        the trained adapter in PEFT's format: PeftModel.from_pretrained(base, FOLDER)
  summary.json    mean mark before and after, with its interval; counts, tokens, time
  metrics.jsonl   one line a step          samples.jsonl  every sample with its mark
  reward.png      mark and KL over steps   config.yaml    the configuration as used
  checkpoints/    the last adapter saved on the way

exit codes:
  0    finished
  2    the configuration, the model or the tasks cannot be used; nothing was trained
  3    the scoring service was away for longer than rlaif.service_wait_s
  4    the scoring service refused a request, for good
  130  interrupted (Ctrl-C or SIGTERM)
After 3, 4 and 130 the run folder is usable: the adapter as it was is saved in it.
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
    options = parser.parse_args(arguments)
    interrupt.install()
    try:
        return _train(load_config(options.config), options.run_dir)
    except (ConfigError, ClientError) as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _train(config: Config, run_dir: Path | None) -> int:
    # Waiting threads of torch's pool give their core away; it has to be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Harmless: it lists keys that a saved adapter need not hold.
    warnings.filterwarnings("ignore", message=re.escape("Found missing adapter keys while loading the checkpoint: "))
    from trainer.loop import Trainer, evaluation_run
    from trainer.marks import GaveUp

    run = config.rlaif.run or f"{time.strftime('%Y%m%d-%H%M%S')}-seed{config.training.seed}"
    try:
        TypeAdapter(RunName).validate_python(evaluation_run(run))
    except ValidationError as error:
        raise ConfigError(f"rlaif.run is {run!r}, which is no run name: {error.errors()[0]['msg']}") from error
    config = config.model_copy(update={"rlaif": config.rlaif.model_copy(update={"run": run})})
    run_dir = run_dir or Path(config.training.output_dir) / run
    if (run_dir / "metrics.jsonl").exists():
        raise ConfigError(f"{run_dir} holds a run already: name another with rlaif.run or --run-dir")

    print(f"run {run}", flush=True)
    with ScoringClient(config.rlaif.scoring_url, timeout_s=config.rlaif.request_timeout_s) as client:
        try:
            Trainer(config, run, run_dir, client).run()
        except GaveUp as error:
            print(error, file=sys.stderr)
            return GAVE_UP
        except RequestRejected as error:
            print(f"the scoring service refused: {error}", file=sys.stderr)
            return REJECTED
    return FINISHED


if __name__ == "__main__":
    sys.exit(main())
