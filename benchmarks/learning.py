"""`make bench-learning`: what tests bring to learning. The demo, three ways: on the marks of its
offline stub alone, of the tests alone, and of both, where the teacher marks what passes. Student,
seeds, steps and the tasks of each step are the same.

pass@1 is measured here, the same for all ways: the evaluation samples that the trainer wrote down
are run against their tasks' tests in the service's sandbox. Its interval comes from resampling
tasks (bootstrap): it contains nothing of how much another seed would differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.learning_measure import Change, change, difference, read_evaluated
from markbook.config.loading import ConfigError, load_config, without_secrets
from markbook.config.settings import Config
from markbook.demo.cli import DEFAULT_CONFIG, for_one_run
from markbook.demo.processes import DemoError, Interrupts, free_port, service, tail
from markbook.trainer.monitoring.pass_at_k import Counts
from markbook.trainer.run_dir import check_writable

WAYS: Mapping[str, Mapping[str, Any]] = {
    "stub": {"use_tests": False},
    "tests": {"use_tests": True, "tests_policy": "only"},
    "both": {"use_tests": True, "tests_policy": "gate"},
}
"""What marks come from, and the keys of `rlaif` that make it so."""


class StoppedError(Exception):
    """A signal came."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


@dataclass(frozen=True)
class Outcome:
    """One run. `marked`: its training samples by the source of their mark, `not_run`: evaluation
    samples whose tests could not be run, which no pass@1 counts.
    """

    way: str
    seed: int
    before: Counts
    after: Counts
    not_run: int
    marked: Mapping[str, int]
    minutes: float

    @property
    def change(self) -> Change:
        return change([self.before], [self.after])


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    outcomes: list[Outcome] = []
    code = 0
    try:
        base = load_config(DEFAULT_CONFIG)
        if options.json:
            check_writable(options.json.parent)
        # signals first: whatever comes later is cleared away before they take the program with them
        with (
            Interrupts() as interrupts,
            tempfile.TemporaryDirectory(prefix="bench-learning-") as folder,
        ):
            try:
                for outcome in _each_run(base, options, Path(folder), interrupts):
                    outcomes.append(outcome)
            except StoppedError as stopped:
                code = 128 + stopped.signal
                print(
                    f"stopped: the run under way is lost, {len(outcomes)} finished before it",
                    flush=True,
                )
    except (ConfigError, DemoError) as error:
        print(error, file=sys.stderr)
        code = 2
    if outcomes:
        print("", *table(outcomes), *versus(outcomes), sep="\n")
        if options.json:
            config = configured(base, options.ways[0], options)
            options.json.write_text(
                json.dumps(as_json(config, outcomes), indent=2) + "\n", encoding="utf-8"
            )
    return code


def configured(base: Config, way: str, options: argparse.Namespace) -> Config:
    """The demo's configuration with what was asked for, and marks made in this way."""
    steps = base.training.max_steps if options.steps is None else options.steps
    return base.model_copy(
        update={
            "training": base.training.model_copy(
                update={"max_steps": steps, "task_sampling": options.task_sampling}
            ),
            "rlaif": base.rlaif.model_copy(update=WAYS[way]),
        }
    )


def _each_run(
    base: Config, options: argparse.Namespace, folder: Path, interrupts: Interrupts
) -> Iterator[Outcome]:
    runs = list(dict.fromkeys((seed, way) for seed in options.seeds for way in options.ways))
    for number, (seed, way) in enumerate(runs, start=1):
        print(f"\nrun {number} of {len(runs)}: marks of {way}, seed {seed}", flush=True)
        outcome = one(configured(base, way, options), way, seed, folder, interrupts)
        print(f"\n{said(way, str(seed), outcome.change)}", flush=True)
        yield outcome


def one(config: Config, way: str, seed: int, folder: Path, interrupts: Interrupts) -> Outcome:
    """Train once, with a service and a store of its own, and measure.

    Raises StoppedError or DemoError.
    """
    begun = time.monotonic()
    store = config.store.model_copy(
        update={"database_url": f"sqlite:///{folder / f'{way}-{seed}.db'}"}
    )
    named = config.rlaif.model_copy(update={"run": f"{way}-seed{seed}"})
    base = config.model_copy(update={"store": store, "rlaif": named})
    config = for_one_run(base, seed, str(folder), free_port(), "")
    run_dir = folder / f"{way}-seed{seed}"
    run_dir.mkdir()
    file, log = run_dir / "config.yaml", run_dir / "service.log"
    file.write_text(yaml.safe_dump(without_secrets(config), sort_keys=False), encoding="utf-8")
    with service(
        file,
        config.store.database_url,
        config.service.port,
        log,
        lambda: interrupts.received is not None,
    ):
        _run(interrupts, ["markbook.trainer", "--config", str(file)], log)
    _run(interrupts, ["benchmarks.learning_measure", str(run_dir)], log)
    found = read_evaluated(run_dir)
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    before, after = found["eval_before"], found["eval_after"]
    return Outcome(
        way,
        seed,
        before.counts,
        after.counts,
        before.not_run + after.not_run,
        summary["training"]["by_source"],
        (time.monotonic() - begun) / 60,
    )


def _run(interrupts: Interrupts, module: Sequence[str], log: Path) -> None:
    """Run a module to its end. Raises StoppedError when a signal came, DemoError when it failed."""
    code = 0 if interrupts.received else interrupts.run([sys.executable, "-m", *module])
    if interrupts.received:
        raise StoppedError(interrupts.received)
    if code:
        raise DemoError(f"{module[0]} ended with exit code {code}; the service said:\n{tail(log)}")


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """One line per run, and one for all seeds of a variant where there are several."""
    lines = [
        "| marks of | seed | pass@1 before | after | difference, 95 % interval | evaluation tasks "
        "| samples not run | training samples marked by the stub / tests / heuristic | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for way in dict.fromkeys(outcome.way for outcome in outcomes):
        of_way = [outcome for outcome in outcomes if outcome.way == way]
        for seeds in [[outcome] for outcome in of_way] + ([of_way] if len(of_way) > 1 else []):
            name = str(seeds[0].seed) if len(seeds) == 1 else "all"
            found = change([each.before for each in seeds], [each.after for each in seeds])
            marked = [
                str(sum(each.marked.get(by, 0) for each in seeds))
                for by in ("teacher", "tests", "heuristic")
            ]
            lines.append(
                f"| {way} | {name} | {found.before:.3f} | {found.after:.3f} | {found.difference} "
                f"| {found.tasks} | {sum(each.not_run for each in seeds)} | {' / '.join(marked)} "
                f"| {sum(each.minutes for each in seeds):.1f} |"
            )
    return lines


def versus(outcomes: Sequence[Outcome]) -> list[str]:
    """pass@1 after training of each later way against the first, over the same tasks and the
    seeds that both have.
    """
    after: dict[str, dict[int, Counts]] = {}
    for outcome in outcomes:
        after.setdefault(outcome.way, {})[outcome.seed] = outcome.after
    first, *others = after
    lines = [""]
    for way in others:
        seeds = [seed for seed in after[first] if seed in after[way]]
        if seeds:
            found = difference(
                [after[first][seed] for seed in seeds], [after[way][seed] for seed in seeds]
            )
            lines.append(f"pass@1 after training, marks of {way} against those of {first}: {found}")
    return lines if len(lines) > 1 else []


def said(way: str, seed: str, found: Change) -> str:
    return (
        f"marks of {way}, seed {seed}: pass@1 {found.before:.3f} before, {found.after:.3f} "
        f"after: {found.difference}"
    )


def as_json(config: Config, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that the table comes from.

    Counts by task are samples that passed, and those tested.
    """
    training = config.training.model_dump(
        mode="json", include={"model", "max_steps", "task_sampling", "tasks"}
    )
    return {
        "training": training,
        "runs": [{**asdict(each), "change": asdict(each.change)} for each in outcomes],
    }


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default: 0")
    made.add_argument(
        "--steps", type=int, metavar="N", help="optimizer steps of a run (default: the demo's)"
    )
    made.add_argument(
        "--ways", nargs="+", choices=[*WAYS], default=[*WAYS], help="default: all of them"
    )
    made.add_argument(
        "--task-sampling",
        choices=["uniform", "frontier"],
        default="uniform",
        help="uniform draws the same tasks in every way, frontier, the demo's, by what their "
        "tests said (default: %(default)s)",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return made


if __name__ == "__main__":
    sys.exit(main())
