"""pass@1 of a run's evaluation samples, by running their tests here, and its change with an
interval over tasks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap
from tqdm import tqdm

from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution import Limits, TestRunner, open_runner
from markbook.scoring.languages import canonical
from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.pipeline.sample_tests import share_passed, summarized
from markbook.tasks import TaskLine, read_tasks
from markbook.trainer.monitoring.pass_at_k import Counts, pass_at_k
from markbook.trainer.run_dir import SAMPLES

PHASES = ("eval_before", "eval_after")
EVALUATED = "evaluated.json"
RESAMPLES = 9_999
SEED = 0
"""Of the bootstrap: the same runs have the same interval."""


@dataclass(frozen=True)
class Difference:
    """A mean over tasks with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Change:
    """pass@1 before and after training, over the tasks that were tested both times."""

    before: float
    after: float
    difference: Difference
    tasks: int


@dataclass(frozen=True)
class Evaluated:
    """One evaluation.

    `not_run`: samples of which no test failed and some could not be run; `counts` has none.
    """

    counts: Counts
    not_run: int


def main(arguments: Sequence[str] | None = None) -> int:
    """A process of its own, apart from the terminal: a Ctrl-C there would end sandboxes while
    they start.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning_measure", description=__doc__
    )
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN", help="a run's folder, which gets evaluated.json"
    )
    run_dir = parser.parse_args(arguments).run_dir
    try:
        found = evaluations(run_dir, load_config(run_dir / "config.yaml"))
    except (ConfigError, ExecutionUnavailableError) as error:
        print(f"the tests cannot be run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    given = {phase: asdict(evaluated) for phase, evaluated in found.items()}
    (run_dir / EVALUATED).write_text(json.dumps(given), encoding="utf-8")
    return 0


def read_evaluated(run_dir: Path) -> dict[str, Evaluated]:
    """What `main` wrote, by phase."""
    found = json.loads((run_dir / EVALUATED).read_text(encoding="utf-8"))
    return {
        phase: Evaluated(
            {int(task): (c, n) for task, (c, n) in given["counts"].items()}, given["not_run"]
        )
        for phase, given in found.items()
    }


def evaluations(run_dir: Path, config: Config) -> dict[str, Evaluated]:
    """The evaluations before and after training in a run folder, by phase."""
    assert config.training.eval_tasks is not None  # the demo has some
    tasks = [task for _, task in read_tasks(config.training.eval_tasks)]
    with (run_dir / SAMPLES).open(encoding="utf-8") as file:
        lines = [line for line in map(json.loads, file) if line["phase"] in PHASES]
    bounds = config.execution
    limits = Limits(bounds.test_timeout_s, bounds.sample_timeout_s, bounds.memory_mib * 1024 * 1024)
    runner = open_runner(bounds.confirm, limits=limits)
    try:
        with ThreadPoolExecutor(runner.max_running) as threads:
            found = threads.map(
                lambda line: passes(runner, tasks[line["task"]], line["sample"]), lines
            )
            bar = tqdm(
                found,
                "running tests",
                len(lines),
                unit="sample",
                leave=False,
                disable=not sys.stderr.isatty(),
            )
            verdicts = [*bar]
    finally:
        runner.close()
    return {phase: _counted(lines, verdicts, phase) for phase in PHASES}


def passes(runner: TestRunner, task: TaskLine, sample: str) -> bool | None:
    """Whether the code in a completion passes all tests; None where none failed and some could
    not be run.
    """
    code = extract(sample, canonical(task.language)).code
    share = share_passed(summarized(task.tests, runner.run_sync(code, task.tests, task.test_setup)))
    return None if share is None else share == 1


def _counted(
    lines: Sequence[Mapping[str, Any]], verdicts: Sequence[bool | None], phase: str
) -> Evaluated:
    by_task: dict[int, list[bool]] = {}
    not_run = 0
    for line, verdict in zip(lines, verdicts, strict=True):
        if line["phase"] != phase:
            continue
        if verdict is None:
            not_run += 1
        else:
            by_task.setdefault(line["task"], []).append(verdict)
    return Evaluated(
        {task: (sum(those), len(those)) for task, those in sorted(by_task.items())}, not_run
    )


def change(before: Sequence[Counts], after: Sequence[Counts]) -> Change:
    """Of one run, or of several with other seeds: each task counts by its mean over them."""
    befores, afters = _together(before), _together(after)
    tasks = befores.keys() & afters.keys()
    return Change(
        statistics.fmean(befores[task] for task in tasks),
        statistics.fmean(afters[task] for task in tasks),
        difference(before, after),
        len(tasks),
    )


def difference(ones: Sequence[Counts], others: Sequence[Counts]) -> Difference:
    """The others' pass@1 less the ones', paired over tasks, with the percentile interval of
    resampled tasks.
    """
    first, second = _together(ones), _together(others)
    differences = [second[task] - first[task] for task in sorted(first.keys() & second.keys())]
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    low, high = found.confidence_interval
    return Difference(statistics.fmean(differences), float(low), float(high))


def _together(runs: Sequence[Counts]) -> dict[int, float]:
    """pass@1 by task, the mean over runs that tested it."""
    found: dict[int, list[float]] = {}
    for counts in runs:
        for task, share in pass_at_k(counts, 1).items():
            found.setdefault(task, []).append(share)
    return {task: statistics.fmean(shares) for task, shares in found.items()}


if __name__ == "__main__":
    sys.exit(main())
