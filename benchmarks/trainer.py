"""`make bench-trainer`: a step of this trainer beside a step of TRL's GRPOTrainer. The same
student, adapter, tasks, batch, number of tokens, and marks from the same scoring service; each side
in a process of its own, in turns.

First the teacher answers at once; then, for this trainer alone, it takes as long as writing a batch
does, and the trainer is allowed to be one update behind (rlaif.max_staleness: 1). TRL has nothing
of the kind without a generation server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from benchmarks.trainer_sides import REPORT, Report, Setup
from markbook.config.loading import parse_config
from markbook.scoring.teachers.protocol import BudgetLimiter, Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import RecordingTeacher
from tests.processes import ROOT, clean_environment
from tests.served import served

SIDES = ("ours", "trl")


class TimedTeacher(RecordingTeacher):
    """Its marks are a hash of the code: every group has differences to learn from, on both sides
    alike.
    """

    delay_s = 0.0

    async def mark(
        self, group: Group, purse: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        await asyncio.sleep(self.delay_s)
        return await super().mark(group, purse)


class Side:
    """One trainer, loaded and waiting."""

    def __init__(self, name: str, setup: Setup) -> None:
        self.name = name
        self._errors = Path(f"{setup.run_dir}.log")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.trainer_sides", name, json.dumps(asdict(setup))],
                cwd=ROOT,
                # waiting threads of torch's pool give their core away, on both sides
                env=clean_environment(OMP_WAIT_POLICY="PASSIVE"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._read()

    def steps(self, count: int, tick: Callable[[], object]) -> list[Report]:
        assert self._process.stdin is not None
        print(count, file=self._process.stdin, flush=True)
        reports = []
        for _ in range(count):
            reports.append(Report(**json.loads(self._read())))
            tick()
        return reports

    def _read(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(REPORT):
                return line.removeprefix(REPORT)
        raise SystemExit(f"{self.name} ended early:\n{self._errors.read_text()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def measure(
    setup: Setup, names: Sequence[str], steps: int, refill: int, tick: Callable[[], object]
) -> dict[str, list[Report]]:
    """`steps` of each side of `names`, in turns of half of them, after one to warm up.

    `refill`: steps at the start of each turn of ours that are not counted, because its batch of
    before is marked already.
    """
    found: dict[str, list[Report]] = {name: [] for name in names}
    turns = [steps - steps // 2, steps // 2] if steps > 1 else [steps]
    extra = {"ours": refill, "trl": 0}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        sides = []
        for name in names:
            total = (
                1 + steps + extra[name] * len(turns) + 1
            )  # the last one, which has no next batch, is not reached
            own = replace(setup, run=f"{setup.run}-{name}", run_dir=str(folder / name), steps=total)
            sides.append(opened.enter_context(Side(name, own)))
            sides[-1].steps(1, tick)
        for number, turn in enumerate(turns):
            for side in sides if number % 2 == 0 else sides[::-1]:
                found[side.name] += side.steps(extra[side.name] + turn, tick)[extra[side.name] :]
    return found


def mean(reports: Sequence[Report], what: str) -> float:
    return statistics.fmean(getattr(report, what) for report in reports)


def table(title: str, found: Mapping[str, Sequence[Report]], names: Mapping[str, str]) -> str:
    lines = [
        title,
        "",
        "| | s a step (least to most) | generating | waiting | learning | tokens a step | peak "
        "memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, reports in found.items():
        seconds = [report.seconds for report in reports]
        parts = " | ".join(
            f"{mean(reports, what):.2f}" for what in ("generating", "waiting", "learning")
        )
        spread = f"{statistics.fmean(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        memory = max(report.memory for report in reports) / 2**30
        lines.append(
            f"| {names[side]} | {spread} | {parts} | {mean(reports, 'tokens'):,.0f} | {memory:.2f} "
            "GiB |"
        )
    return "\n".join(lines)


def gains(slow: Sequence[Report], delay_s: float) -> str:
    """What being one update behind brings.

    G and L are those of the same steps: no machine is as fast all the time.
    """
    g, rest, took = (mean(slow, what) for what in ("generating", "learning", "seconds"))
    in_turn, possible = g + delay_s + rest, max(g, delay_s) + rest
    return (
        f"With the slow teacher ({delay_s:.2f} s): one thing after the other would take "
        f"{in_turn:.2f} s, the best possible is {possible:.2f} s, a gain of "
        f"{in_turn / possible:.2f}; it took {took:.2f} s, a gain of {in_turn / took:.2f}: "
        f"{possible / took:.0%} of the possible. Waiting was {mean(slow, 'waiting') / took:.1%} "
        "of the step."
    )


def main() -> None:
    options = arguments()
    setup = Setup(
        student=options.student,
        url="",
        run="",
        run_dir="",
        device=options.device,
        steps=0,
        tasks=2,
        samples=options.samples,
        tokens=options.tokens,
        staleness=0,
        trl_batch=options.trl_batch or 2 * options.samples,
    )
    trl = f"TRL {version('trl')}"
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory())
        service = parse_config(
            {
                "store": {"database_url": f"sqlite:///{folder}/book.db"},
                "rlaif": {"use_tiered_scoring": False, "use_tests": False},
            }
        )
        teacher = TimedTeacher()
        url = opened.enter_context(served(service, teacher))
        bar = opened.enter_context(
            tqdm(
                total=3 * (1 + options.steps) + 2,
                unit="step",
                leave=False,
                disable=not sys.stderr.isatty(),
            )
        )
        print(
            f"{setup.tasks} tasks x {setup.samples} samples x {setup.tokens} tokens, "
            f"{options.student}, "
            f"{options.steps} steps a side, {os.cpu_count()} cores\n"
        )
        instant = measure(
            replace(setup, url=url, run="instant"), SIDES, options.steps, 0, bar.update
        )
        tell(table("The teacher answers at once", instant, {"ours": "Markbook", "trl": trl}))
        teacher.delay_s = mean(instant["ours"], "generating")
        late = replace(setup, url=url, run="slow", staleness=1)
        slow = measure(late, ["ours"], options.steps, 1, bar.update)
        title = f"The teacher takes {teacher.delay_s:.2f} s"
        tell(table(title, slow, {"ours": "Markbook, max_staleness 1"}))
    print(
        f"With the teacher that answers at once, TRL's step takes {ratio(instant):.2f} times ours."
    )
    print(gains(slow["ours"], teacher.delay_s))


def tell(text: str) -> None:
    """Above the progress bar."""
    tqdm.write(text + "\n")
    sys.stdout.flush()


def ratio(found: Mapping[str, Sequence[Report]]) -> float:
    return mean(found["trl"], "seconds") / mean(found["ours"], "seconds")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__)
    parser.add_argument("--student", default="bundled:smollm2-135m", help="default: %(default)s")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument(
        "--steps",
        type=int,
        default=4,
        help="counted, of each side and teacher (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=8,
        help="a task, of which there are two (default: %(default)s)",
    )
    parser.add_argument("--tokens", type=int, default=80, help="a sample (default: %(default)s)")
    parser.add_argument(
        "--trl-batch", type=int, help="TRL's per_device_train_batch_size (default: the whole batch)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
