"""`--dry-run`: everything a run needs is loaded and tried on one group, and what the run would cost is worked out."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markbook.config.settings import Config
from markbook.contract import Counters, Result, Scored, Source, Stats, Unscored
from markbook.trainer.data.task_sampling import TaskSampler
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.loop import TRAINING, Trainer
from markbook.trainer.types import Sample


@dataclass(frozen=True, slots=True)
class Part:
    """Training, or all evaluations: how much there is to be marked. `calls`: to the teacher, at most."""

    groups: int
    samples: int
    calls: int

    @staticmethod
    def of(groups: int, group: int, max_group_size: int) -> Part:
        return Part(groups, groups * group, groups * math.ceil(group / max_group_size))


def parts(config: Config, eval_tasks: int, max_group_size: int) -> dict[str, Part]:
    """What the run of `config` asks for, and all of it together."""
    training, rlaif = config.training, config.rlaif
    count = evaluations(training.max_steps, training.eval_every_steps) if eval_tasks else 0
    steps = Part.of(training.max_steps * training.prompts_per_step, rlaif.num_samples_per_prompt, max_group_size)
    held_out = Part.of(count * eval_tasks, training.eval_samples_per_task, max_group_size)
    together = (steps.groups + held_out.groups, steps.samples + held_out.samples, steps.calls + held_out.calls)
    return {"training": steps, f"{count} evaluations": held_out, "together": Part(*together)}


def evaluations(max_steps: int, every: int | None) -> int:
    """One before, one after, and those between."""
    return 2 + ((max_steps - 1) // every if every else 0)


def dry_run(trainer: Trainer) -> None:
    """Write and mark the first group of the run, and print what all of it would cost.

    With the same seed the run has these very samples in its first step, and finds their marks in the book. Raises
    ServiceTimeoutError where none of them gets a mark.
    """
    config, run = trainer.config, f"{trainer.name}/dry-run"
    started = time.perf_counter()
    task = TaskSampler(trainer.tasks, config.training, {}).step(1)[0]
    [(_, samples)] = trainer.sampler.groups([task], config.rlaif.num_samples_per_prompt, (TRAINING, 1))
    print(written(samples, time.perf_counter() - started, config), flush=True)
    results = trainer.marker.submit(run, samples).result()
    print(marked(results))
    stats = trainer.marker.stats()
    print(*forecast(config, len(trainer.eval_tasks), stats, run), sep="\n")


def written(samples: Sequence[Sample], seconds: float, config: Config) -> str:
    tokens = sum(len(sample.ids) for sample in samples)
    cut_off = sum(sample.truncated for sample in samples)
    return (
        f"generated one group: {len(samples)} samples, {tokens:,} tokens in {seconds:.1f} s, {cut_off} cut off at "
        f"training.max_new_tokens ({config.training.max_new_tokens})\n"
        "asking for their marks, which are paid for; the run itself will find them stored"
    )


def marked(results: Sequence[Result]) -> str:
    scored = [result for result in results if isinstance(result, Scored)]
    errors = {f"{one.error.code.value}: {one.error.detail}" for one in results if isinstance(one, Unscored)}
    if not scored:
        raise ServiceTimeoutError(f"none of the samples got a mark: {'; '.join(sorted(errors))}")
    counts = Counter(result.source for result in scored)
    sources = ", ".join(f"{source.value} {counts[source]}" for source in Source)
    marks = " ".join(f"{result.score:.2f}" for result in scored)
    return f"marks: {marks} ({sources}, unscored {len(results) - len(scored)})"


def forecast(config: Config, eval_tasks: int, stats: Stats, run: str) -> Iterator[str]:
    """The lines of what a run would cost, by what the service paid for a call: under `run`, or else ever."""
    rows = parts(config, eval_tasks, stats.profile_inputs.max_group_size)
    table = [["", *rows]]
    table.append(["samples", *(f"{part.samples:,}" for part in rows.values())])
    table.append(["teacher calls, at most", *(f"{part.calls:,}" for part in rows.values())])
    known = {"this group": stats.runs.get(run, Counters()), "all stored calls": stats.totals}
    basis = next((name for name, counted in known.items() if counted.teacher_calls), None)
    if basis:
        counted = known[basis]
        sent, received = (n / counted.teacher_calls for n in (counted.api_tokens_sent, counted.api_tokens_received))
        table.append(["input tokens, at most about", *(f"{part.calls * sent:,.0f}" for part in rows.values())])
        table.append(["output tokens, at most about", *(f"{part.calls * received:,.0f}" for part in rows.values())])
        if counted.cost_usd is not None:
            cost = counted.cost_usd / counted.teacher_calls
            table.append(["US dollars, at most about", *(f"{part.calls * cost:,.2f}" for part in rows.values())])
    yield f"\na run of {config.training.max_steps:,} steps, marked by {stats.teacher.name} ({stats.teacher.model}):"
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *values in table:
        cells = (f"{value:>{width}}" for value, width in zip(values, widths[1:], strict=True))
        yield f"{name:<{widths[0]}}  {'  '.join(cells)}"
    yield (
        f"tokens per call as in {basis}; broken code and samples marked before need no call"
        if basis
        else "what a call costs is not known yet: this group needed none, and none is stored"
    )
    if basis and known[basis].cache_creation_input_tokens:
        yield "the first call wrote the rubric to the prompt cache: those that read it there cost less"
