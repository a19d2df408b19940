"""`python -m markbook.trainer`: train a student on marks from the scoring service."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from markbook.client import ClientError, RequestRejectedError, ScoringClient
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.contract import RunName
from markbook.terminal import printable
from markbook.trainer.data.tasks import check_tasks
from markbook.trainer.model.source import check_source
from markbook.trainer.run_dir import METRICS, check_writable, find_run, merge_resumed_config, with_run_name
from markbook.trainer.utils import signals
from markbook.trainer.utils.cpu_threads import limit_spinning

FINISHED, BAD_CONFIG, GAVE_UP, REJECTED, BUDGET_SPENT, STOPPED_BY_CHECK, INTERRUPTED = 0, 2, 3, 4, 5, 6, 130
PROCESS_LOST, OUT_OF_MEMORY = 7, 8

_EPILOG = """\
what a run leaves in its folder:
  adapter/        the trained adapter in PEFT's format: PeftModel.from_pretrained(base, FOLDER)
  summary.json    mean mark before and after, with its interval; counts, tokens, time
  metrics.jsonl   one line per step and per evaluation
  samples.jsonl   every sample with its mark
  samples.html    of each evaluation the best, the worst and the most changed samples
  reward.png      mark and KL over steps   config.yaml    the configuration as used
  tensorboard/    the metrics again: tensorboard --logdir training.output_dir
  checkpoints/    the newest training.save_total_limit states to go on from, each with its adapter

A run that ended too early, killed included, goes on with --resume as if it had never stopped: the steps since its last
checkpoint are done again, with the same samples, whose marks are in the markbook and cost nothing.

`python -m markbook.trainer.export RUN OUT` merges the adapter into the model, for serving.

MARKBOOK_API_KEY holds the key where the scoring service asks for one, MARKBOOK_GENERATION_KEY where the generation
server (training.generation_url) does.

several GPUs: accelerate launch --multi_gpu --num_processes N -m markbook.trainer ...; the launcher has an exit
code of its own.

exit codes:
  0    finished
  2    the configuration, the model or the tasks cannot be used; nothing was trained
  3    the scoring service was away, or marked too few samples, for longer than rlaif.service_wait_s; or the generation
       server was away for longer than training.generation_wait_s
  4    the scoring service refused a request, for good
  5    the budget for marks is spent: raise it at the scoring service, then --resume
  6    a check for reward hacking stopped it (rlaif.reward_hacking_action): read the samples, then --resume
  7    another process of a run on several GPUs ended without a word
  8    learning does not fit into the GPU's memory: lower training.micro_batch_size, then --resume
  130  interrupted (Ctrl-C or SIGTERM)
After 3, 4, 5, 6, 7, 8 and 130 the run folder is usable: the adapter as it was is saved in it.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m markbook.trainer",
        description="Train a student model with reinforcement learning on marks from the Markbook scoring service.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"markbook {version('markbook')}")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: $MARKBOOK_CONFIG, ./config.yaml)")
    parser.add_argument("--run-dir", metavar="DIR", type=Path, help="run folder (default: training.output_dir/RUN)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--dry-run",
        action="store_true",
        help="load everything, generate and score one group (which is paid for), print what it cost, and stop",
    )
    what.add_argument(
        "--resume",
        metavar="RUN",
        nargs="?",
        const="",
        help="go on with a run from its newest checkpoint: its name or folder; alone: rlaif.run, or the newest "
        "run. It keeps its own configuration unless --config names another",
    )
    options = parser.parse_args(arguments)
    signals.install()
    if not _speaks():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    try:
        config = load_config(options.config)
        if options.resume is None:
            return train(*_new_run(config, options.run_dir), dry=options.dry_run)
        run_dir = find_run(config, options.run_dir or options.resume)
        kept = load_config(run_dir / "config.yaml", old_names=True)
        return train(merge_resumed_config(kept, config) if options.config else kept, run_dir, resume=True)
    except (ConfigError, ClientError) as error:
        return _ended(BAD_CONFIG, error)
    except KeyboardInterrupt:
        return _ended(INTERRUPTED, "interrupted")


def _speaks() -> bool:
    """Of several processes one speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _ended(code: int, why: object) -> int:
    if _speaks():
        print(printable(str(why)), file=sys.stderr)
    return code


def _new_run(config: Config, run_dir: Path | None) -> tuple[Config, Path]:
    """The configuration with the run's name, and a folder that holds no run yet."""
    run = config.rlaif.run or f"{time.strftime('%Y%m%d-%H%M%S')}-seed{config.training.seed}"
    run_dir = run_dir or Path(config.training.output_dir) / run
    if (run_dir / METRICS).exists():
        raise ConfigError(
            f"{run_dir} holds a run already: go on with it by --resume, or name another with rlaif.run or --run-dir"
        )
    check_writable(run_dir)
    return with_run_name(config, run), run_dir


def train(config: Config, run_dir: Path, *, resume: bool = False, dry: bool = False) -> int:
    """One run in this process, by a configuration that names it. Returns the exit code; raises ConfigError."""
    check_tasks(config.training)
    check_source(config.training.model)
    limit_spinning()
    # Harmless: it lists keys that a saved adapter need not hold.
    warnings.filterwarnings("ignore", message=re.escape("Found missing adapter keys while loading the checkpoint: "))
    from markbook.trainer.distributed import launched
    from markbook.trainer.dry_run import dry_run
    from markbook.trainer.errors import (
        BudgetExceededError,
        GpuMemoryError,
        RankLostError,
        RewardHackingError,
        ServiceTimeoutError,
    )
    from markbook.trainer.loop import Trainer, evaluation_run
    from markbook.trainer.model.loading import resolve_device

    url, timeout_s = config.rlaif.scoring_url, config.rlaif.request_timeout_s
    try:
        with (
            # its key is $MARKBOOK_API_KEY: a secret, so not in the file that each run folder gets a copy of
            ScoringClient(url, timeout_s=timeout_s, limits=config.service) as client,
            launched(resolve_device(config.training.device), config.rlaif.service_wait_s) as ranks,
        ):
            # a run that nobody named is named by a clock
            config, run_dir = ranks.on_main(lambda: (config, run_dir))
            run = config.rlaif.run
            assert run
            try:
                TypeAdapter(RunName).validate_python(evaluation_run(run))
            except ValidationError as error:
                raise ConfigError(f"rlaif.run is {run!r}, which is no run name: {error.errors()[0]['msg']}") from error
            print(f"run {run}" + (f", {ranks.world_size} processes" if ranks.world_size > 1 else ""), flush=True)
            trainer = Trainer(config, run, run_dir, client, resume, ranks)
            ranks.on_main(lambda: dry_run(trainer)) if dry else trainer.run()
    except ServiceTimeoutError as error:
        return _ended(GAVE_UP, error)
    except BudgetExceededError as error:
        return _ended(BUDGET_SPENT, error)
    except RewardHackingError as error:
        return _ended(STOPPED_BY_CHECK, f"stopped: {error}")
    except GpuMemoryError as error:
        return _ended(OUT_OF_MEMORY, error)
    except RequestRejectedError as error:
        return _ended(REJECTED, f"the scoring service refused: {error}")
    except RankLostError as error:
        return _ended(PROCESS_LOST, error)
    return FINISHED


if __name__ == "__main__":
    sys.exit(main())
