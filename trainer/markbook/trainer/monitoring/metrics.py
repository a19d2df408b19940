"""What a run records: metrics.jsonl, samples.jsonl, reward.png, trackers, and one line per step."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar

from matplotlib.figure import Figure
from tqdm import tqdm

from markbook.contract import Counters, Result, Scored, Source
from markbook.terminal import printable
from markbook.trainer.monitoring.pass_at_k import passed
from markbook.trainer.monitoring.trackers import Trackers
from markbook.trainer.run_dir import METRICS, SAMPLES
from markbook.trainer.types import Group, Metrics, Sample, StepResult

T = TypeVar("T")
EVAL = "eval_"
"""What the names of an evaluation's metrics begin with; such a line of metrics.jsonl is no
step's.
"""


def log(line: str) -> None:
    """A line on stdout, above the progress bar."""
    tqdm.write(printable(line))
    sys.stdout.flush()


class Recorder:
    """Writes the files of one run and shows its progress.

    Lines are whole as soon as they are written.

    `sizes`: bytes of each file to resume from; what a run wrote after its checkpoint is cut off.
    `history` and `evaluations` are the lines of metrics.jsonl, of steps and of evaluations.
    """

    def __init__(
        self, run_dir: Path, steps: int, sizes: Mapping[str, int], trackers: Trackers
    ) -> None:
        self._run_dir = run_dir
        self._trackers = trackers
        self._steps = steps
        self._sizes = sizes

    def __enter__(self) -> Self:
        self._metrics, self._samples = self._open(METRICS), self._open(SAMPLES)
        written = (self._run_dir / METRICS).read_text(encoding="utf-8")
        lines: list[Metrics] = [json.loads(line) for line in written.splitlines()]
        self.history = [line for line in lines if f"{EVAL}mark" not in line]
        self.evaluations = [line for line in lines if f"{EVAL}mark" in line]
        self._bar = tqdm(
            total=self._steps,
            initial=len(self.history),
            unit="step",
            disable=not sys.stdout.isatty(),
            leave=False,
        )
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._metrics.close()
        self._samples.close()

    def step(self, metrics: Metrics) -> None:
        self.history.append(metrics)
        self._metrics.write(json.dumps(metrics) + "\n")
        self._trackers.log("train", metrics, metrics["step"])
        log(step_line(metrics, self._steps))
        if note := barren_epoch(self.history):
            log(note)
        self._bar.update()

    def evaluation(self, step: int, metrics: Metrics) -> None:
        line = {"step": step, **{f"{EVAL}{name}": value for name, value in metrics.items()}}
        self.evaluations.append(line)
        self._metrics.write(json.dumps(line) + "\n")
        self._trackers.log("eval", metrics, step)
        log(evaluation_line(line))

    def set_status(self, what: str) -> None:
        """Show it on the progress line."""
        self._bar.set_postfix_str(what)

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """`items` as they come, counted on the progress line."""
        self.set_status(f"{what} 0/{total}")
        for done, item in enumerate(items, start=1):
            self.set_status(f"{what} {done}/{total}")
            yield item

    def groups(self, step: int, phase: str, groups: Sequence[Group]) -> None:
        lines: list[dict[str, Any]] = []
        for samples, results in groups:
            for sample, result in zip(samples, results, strict=True):
                lines.append(sample_line(step, phase, sample, result))
                self._samples.write(json.dumps(lines[-1]) + "\n")
        if phase.startswith("eval"):
            self._trackers.log_samples("eval", lines, step)

    @property
    def skipped(self) -> int:
        """Steps so far that brought no update."""
        return sum(line["skipped"] is not None for line in self.history)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, all of them on the disk."""
        for file in (self._metrics, self._samples):
            os.fsync(file.fileno())
        return {name: (self._run_dir / name).stat().st_size for name in (METRICS, SAMPLES)}

    def draw(self) -> None:
        """`reward.png`: marks and KL against step."""
        if self.history:
            draw_curves(self.history, self.evaluations, self._run_dir / "reward.png")

    def _open(self, name: str) -> TextIO:
        file = (self._run_dir / name).open("a", encoding="utf-8", buffering=1)
        file.truncate(self._sizes.get(name, 0))
        return file


def sample_line(step: int, phase: str, sample: Sample, result: Result) -> dict[str, Any]:
    scored = result if isinstance(result, Scored) else None
    error = None if isinstance(result, Scored) else result.error
    return {
        "step": step,
        "phase": phase,
        "task": sample.task.index,
        "language": sample.task.language,
        "prompt": sample.task.prompt,
        "sample": sample.text,
        "tokens": len(sample.ids),
        "truncated": sample.truncated,
        "status": result.status,
        "mark": result.score,
        "criteria": scored and scored.criteria,
        "passed": passed(sample.task, result),
        "tests": scored.tests.model_dump(mode="json") if scored and scored.tests else None,
        "source": scored and scored.source,
        "reasons": scored.reasons if scored else [],
        "error": error and error.model_dump(mode="json"),
    }


def reward_metrics(groups: Sequence[Group]) -> Metrics:
    """What the samples of one step and their marks look like.

    Means are None where nothing was scored.
    """
    samples = [sample for group, _ in groups for sample in group]
    results = [result for _, group in groups for result in group]
    scored = [result for result in results if isinstance(result, Scored)]
    marks = [result.score for result in scored]
    by_source = Counter(result.source for result in scored)
    verdicts = [passed(s.task, r) for group in groups for s, r in zip(*group, strict=True)]
    tested = [verdict for verdict in verdicts if verdict is not None]
    return {
        "pass_rate": sum(tested) / len(tested) if tested else None,
        "reward_mean": statistics.fmean(marks) if marks else None,
        "reward_std": statistics.pstdev(marks) if marks else None,
        "scored": len(scored),
        "unscored": len(results) - len(scored),
        "frac_unscored": (len(results) - len(scored)) / len(results),
        "sources": {source.value: by_source[source] for source in Source},
        "completion_tokens": sum(len(sample.ids) for sample in samples),
        "frac_truncated": sum(sample.truncated for sample in samples) / len(samples),
    }


def learning_metrics(result: StepResult | None) -> Metrics:
    """What the step did, all None where it was skipped."""
    return asdict(result) if result else dict.fromkeys(field.name for field in fields(StepResult))


def barren_epoch(history: Sequence[Metrics]) -> str | None:
    """A line to say when the last step ended an epoch without one update; `epoch` counts epochs
    done.
    """
    last, before = (history[-1]["epoch"], history[-2]["epoch"] if len(history) > 1 else 0)
    if int(last) == int(before):
        return None
    reasons = [line["skipped"] for line in history if line["epoch"] > int(last) - 1]
    if None in reasons:
        return None
    return (
        f"epoch {int(last)} brought no update: all its steps were skipped "
        f"({', '.join(sorted(set(reasons)))})"
    )


def service_metrics(counters: Counters) -> Metrics:
    """The service's count of this run so far, under the service's names; `unscored` stays the
    step's own count, and the scores are in the step's own metrics.
    """
    counts = counters.model_dump(
        mode="json", exclude={"unscored", "scores", "scores_by_source", "agreement"}
    )
    judged = counters.agreement.model_dump(
        include={"passed", "passed_agreeing", "failed", "failed_agreeing"}
    )
    return {**counts, "judged_and_tested": judged}


def step_line(metrics: Mapping[str, Any], steps: int) -> str:
    parts = [f"step {metrics['step']}/{steps}"]
    if metrics["pass_rate"] is not None:
        parts.append(f"pass {metrics['pass_rate']:.0%}")
    if metrics["reward_mean"] is not None:
        parts.append(f"reward {metrics['reward_mean']:.2f} ± {metrics['reward_std']:.2f}")
    if metrics["kl"] is not None:
        parts.append(f"kl {metrics['kl']:.3f}")
    if metrics["skipped"]:
        parts.append(f"skipped: {metrics['skipped']}")
    parts.append(f"unscored {metrics['unscored']}")
    parts.append(f"tokens {metrics['api_tokens_sent']:,} (saved {metrics['tokens_saved']:,})")
    parts.append(f"{metrics['seconds']:.1f} s")
    return "  ".join(parts)


def evaluation_line(line: Mapping[str, Any]) -> str:
    parts = [
        f"evaluation after step {line['step']}" if line["step"] else "evaluation before training"
    ]
    if line["eval_pass_at_1"] is not None:
        change = _change(line["eval_pass_at_1_difference"], line["eval_pass_at_1_interval_95"])
        parts.append(f"pass@1 {line['eval_pass_at_1']:.3f}{change}")
    mark = "no marks" if line["eval_mark"] is None else f"mark {line['eval_mark']:.3f}"
    parts.append(mark + _change(line["eval_difference"], line["eval_interval_95"]))
    parts.append(f"unscored {line['eval_unscored']}")
    parts.append(f"{line['eval_seconds']:.1f} s")
    return "  ".join(parts)


def _change(difference: float | None, interval: Sequence[float] | None) -> str:
    """Since the first evaluation; nothing in the first itself."""
    if difference is None:
        return ""
    bounds = f", 95 % interval {interval[0]:+.3f} to {interval[1]:+.3f}" if interval else ""
    return f" ({difference:+.3f} since the first{bounds})"


def draw_curves(history: Sequence[Metrics], evaluations: Sequence[Metrics], file: Path) -> None:
    marked = [line for line in history if line["reward_mean"] is not None]
    learned = [line for line in history if line["kl"] is not None]
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [line["step"] for line in marked]
    means = [line["reward_mean"] for line in marked]
    above.plot(steps, means, marker="o", markersize=3, label="mean mark")
    low = [line["reward_mean"] - line["reward_std"] for line in marked]
    high = [line["reward_mean"] + line["reward_std"] for line in marked]
    above.fill_between(steps, low, high, alpha=0.2, label="± one standard deviation")
    for name, label in (
        ("eval_mark", "held-out tasks, mean mark"),
        ("eval_pass_at_1", "held-out tasks, pass@1"),
    ):
        held_out = [
            (line["step"], line[name]) for line in evaluations if line.get(name) is not None
        ]
        if held_out:
            above.plot(
                *zip(*held_out, strict=True), marker="D", markersize=5, linestyle="--", label=label
            )
    above.set(ylabel="mark, pass@1", ylim=(0, 1))
    above.legend(loc="lower right")
    below.plot(
        [line["step"] for line in learned],
        [line["kl"] for line in learned],
        marker="o",
        markersize=3,
    )
    below.set(xlabel="step", ylabel="KL to the base (nats per token)")
    below.xaxis.get_major_locator().set_params(integer=True)
    temporary = file.with_suffix(".partial")
    figure.savefig(temporary, format="png", dpi=120)
    temporary.replace(file)
