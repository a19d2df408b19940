"""One run in this process, from a configuration to an exit status. torch is imported once the
arguments are checked.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from contextlib import closing
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from markbook.client import RequestRejectedError, ScoringClient
from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.config.settings.objectives import overridden_options
from markbook.contract import RunName
from markbook.terminal import printable
from markbook.trainer.data.tasks import check_tasks
from markbook.trainer.model.source import check_source
from markbook.trainer.run_dir import evaluation_run
from markbook.trainer.utils.cpu_memory import keep_freed_memory
from markbook.trainer.utils.cpu_threads import limit_spinning

FINISHED, BAD_CONFIG, GAVE_UP, REJECTED, BUDGET_SPENT, STOPPED_BY_CHECK = 0, 2, 3, 4, 5, 6
PROCESS_LOST, OUT_OF_MEMORY = 7, 8


def is_main_process() -> bool:
    """Only one of several processes prints."""
    return os.environ.get("RANK", "0") == "0"


def report_end(code: int, why: object) -> int:
    if is_main_process():
        print(printable(str(why)), file=sys.stderr)
    return code


def run_training(
    config: Config,
    run_dir: Path,
    *,
    resume: bool = False,
    dry: bool = False,
    config_file: Path | None = None,
) -> int:
    """One run in this process, by a configuration that names it. `config_file`: where it was read,
    if it was named. Returns the exit status; raises ConfigError.
    """
    check_tasks(config.training)
    check_source(config.training.model)
    limit_spinning()
    keep_freed_memory()
    # Harmless: it lists keys that a saved adapter need not hold.
    warnings.filterwarnings(
        "ignore", message=re.escape("Found missing adapter keys while loading the checkpoint: ")
    )
    from markbook.trainer.errors import (
        BudgetExceededError,
        GpuMemoryError,
        RankLostError,
        RewardHackingError,
        ServiceTimeoutError,
    )

    try:
        _run(config, run_dir, resume=resume, dry=dry, config_file=config_file)
    except ServiceTimeoutError as error:
        return report_end(GAVE_UP, error)
    except BudgetExceededError as error:
        return report_end(BUDGET_SPENT, error)
    except RewardHackingError as error:
        return report_end(STOPPED_BY_CHECK, f"stopped: {error}")
    except GpuMemoryError as error:
        return report_end(OUT_OF_MEMORY, error)
    except RequestRejectedError as error:
        return report_end(REJECTED, f"the scoring service refused the request: {error}")
    except RankLostError as error:
        return report_end(PROCESS_LOST, error)
    return FINISHED


def _run(
    config: Config, run_dir: Path, *, resume: bool, dry: bool, config_file: Path | None
) -> None:
    from markbook.trainer.distributed import launched
    from markbook.trainer.dry_run import dry_run
    from markbook.trainer.loop import Trainer
    from markbook.trainer.model.loading import resolve_device

    with (
        # its key is $MARKBOOK_API_KEY: a secret, so not in the file that each run folder gets a
        # copy of
        ScoringClient(
            config.rlaif.scoring_url,
            timeout_s=config.rlaif.request_timeout_s,
            limits=config.service,
        ) as client,
        launched(resolve_device(config.training.device), config.rlaif.service_wait_s) as ranks,
    ):
        # a run without a name is named by the clock, which differs between processes
        config, run_dir = ranks.on_main(lambda: (config, run_dir))
        run = _checked_name(config.rlaif.run)
        print(
            f"run {run}" + (f", {ranks.world_size} processes" if ranks.world_size > 1 else ""),
            flush=True,
        )
        if changed := overridden_options(config.rlaif.model_dump()):
            name = config.rlaif.objective
            found = (f"{key} {value} ({name}: {usual})" for key, (value, usual) in changed.items())
            print(f"rlaif.objective {name}, except: {', '.join(found)}", flush=True)
        trainer = Trainer(config, run, run_dir, client, resume, ranks)
        with closing(trainer.sampler):
            ranks.on_main(lambda: dry_run(trainer, config_file)) if dry else trainer.run()


def _checked_name(run: str | None) -> str:
    """Raises ConfigError for a name that the service would refuse."""
    assert run
    try:
        TypeAdapter(RunName).validate_python(evaluation_run(run))
    except ValidationError as error:
        raise ConfigError(
            f"rlaif.run is {run!r}, which is not a run name: {error.errors()[0]['msg']}"
        ) from error
    return run
