"""`markbook rubric try`: the marks of another rubric beside those that are stored, on the same
samples, cost first.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from markbook.cli.options import ConfigOption, JsonOption, table
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.contract import RequestUsage, Scored, Unscored
from markbook.scoring.cli.client import dollars
from markbook.scoring.cli.confirm_cost import (
    BatchOption,
    confirm_calls,
    describe_cost,
    exit_stopped,
)
from markbook.scoring.cli.stop_signals import run_until_signal, sigterm_as_ctrl_c
from markbook.scoring.judging.costs import LIKELY, MOST, estimate_cost
from markbook.scoring.judging.labelled import number_tasks
from markbook.scoring.judging.marking import add_usage, find_missing, in_batches, mark_samples
from markbook.scoring.judging.stored_samples import KeptSample, TriedSample, read_latest
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.terminal import printable

RUN = "rubric-try"
"""The run that the calls are counted under."""
_TASK_CHARS = 30


def try_rubric(
    file: Annotated[str, typer.Argument(help="The rubric to try.")],
    from_store: Annotated[
        int, typer.Option(metavar="N", min=1, max=200, help="Latest stored marks to compare with.")
    ] = 5,
    run: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only marks that this run paid for or received."),
    ] = None,
    batch: BatchOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before calls that cost money.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Mark stored samples under another rubric, and show old and new marks side by side.

    The old marks are those of the configured rubric (teacher.rubric) and stay as they are. New
    marks are stored under the new rubric, within the budgets. An estimate is printed first.
    """
    settings = load_config(config)
    old, new = load_rubric(settings.teacher.rubric), load_rubric(file)
    if old == new:
        raise ConfigError(f"{file} is the configured rubric: there is nothing to compare")
    teacher = settings.teacher.model_copy(update={"rubric": file})
    tried = settings.model_copy(update={"teacher": teacher})
    if batch:
        tried = in_batches(tried)
    try:
        with sigterm_as_ctrl_c():
            samples = asyncio.run(read_latest(settings, old, from_store, run))
            _confirm(tried, samples, yes=yes)
            work = mark_samples(
                tried, samples, number_tasks(samples), run=RUN, repeat=0, on_marked=lambda _: None
            )
            marking = run_until_signal(work)
    except KeyboardInterrupt:
        exit_stopped([tried])
    found = [
        TriedSample(sample, result) for sample, result in zip(samples, marking.results, strict=True)
    ]
    usage = add_usage(marking.usage)
    if as_json:
        print(json.dumps(_as_json(found, old, new, usage), indent=2))
    else:
        print(*map(printable, _lines(found, old, new, usage)), sep="\n")


def _confirm(config: Config, samples: Sequence[KeptSample], *, yes: bool) -> None:
    """Print the estimate; raises ConfigError, or exits, where money would be spent without
    consent.
    """
    missing = asyncio.run(find_missing(config, samples, 0))
    known = f"{len(samples):,} marks, {len(samples) - len(missing):,} of them stored"
    if config.teacher.name == "static":
        print(f"{known}; the static teacher is free and does not read the rubric", file=sys.stderr)
        return
    tasks = number_tasks(samples)
    likely, most = (
        estimate_cost(config, samples, tasks, missing, assumed) for assumed in (LIKELY, MOST)
    )
    cost = describe_cost(config, [likely], [most])
    print(f"{known}; {config.teacher.model}: {cost}", file=sys.stderr)
    if missing:
        confirm_calls(yes=yes)


def _lines(
    found: Sequence[TriedSample], old: Rubric, new: Rubric, usage: RequestUsage
) -> Iterator[str]:
    names = [*dict.fromkeys([*old.criteria, *new.criteria])]
    yield f"old rubric {old.version}, new rubric {new.version}"
    yield ""
    header = ["TASK", "OLD", "NEW", "CHANGE", *(name.replace("_", " ") for name in names)]
    yield from table([header, *(_row(each, names) for each in found)])
    changes = [each.change for each in found if each.change is not None]
    if changes:
        yield ""
        before = statistics.fmean(each.kept.score for each in found if each.change is not None)
        after = statistics.fmean(
            each.result.score for each in found if isinstance(each.result, Scored)
        )
        yield (
            f"mean score {before:.3f} -> {after:.3f}, mean absolute change "
            f"{statistics.fmean(map(abs, changes)):.3f}, on {len(changes):,} samples"
        )
        if (reordered := _reordered(found)) is not None:
            yield f"pairs of a task in another order: {reordered[0]:,} of {reordered[1]:,}"
    for each in found:
        if isinstance(each.result, Unscored):
            yield f"unscored: {each.result.error.code}: {each.result.error.detail}"
    yield f"paid {dollars(usage.cost_usd)} in {usage.teacher_calls:,} calls"


def _row(each: TriedSample, names: Sequence[str]) -> list[str]:
    """Criteria as old -> new; a criterion that one of the rubrics lacks has a dash there."""
    task = " ".join(each.kept.prompt.split())
    shown = task if len(task) <= _TASK_CHARS else f"{task[: _TASK_CHARS - 1]}…"
    result = each.result
    criteria = (result.criteria or {}) if isinstance(result, Scored) else {}
    cells = [
        f"{_number(each.kept.criteria.get(name))} -> {_number(criteria.get(name))}"
        for name in names
    ]
    change = "-" if each.change is None else f"{each.change:+.2f}"
    return [shown, _number(each.kept.score), _number(result.score), change, *cells]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _reordered(found: Sequence[TriedSample]) -> tuple[int, int] | None:
    """Pairs of samples of one task whose scores have another order now, equal ones included, and
    all such pairs.
    """
    tasks = number_tasks([each.kept for each in found])
    scored = [
        (task, each) for task, each in zip(tasks, found, strict=True) if each.change is not None
    ]
    pairs = changed = 0
    for at, (task, first) in enumerate(scored):
        for other_task, second in scored[at + 1 :]:
            if task != other_task:
                continue
            pairs += 1
            before = first.kept.score - second.kept.score
            after = (first.result.score or 0.0) - (second.result.score or 0.0)
            changed += (before > 0) != (after > 0) or (before < 0) != (after < 0)
    return (changed, pairs) if pairs else None


def _as_json(
    found: Sequence[TriedSample], old: Rubric, new: Rubric, usage: RequestUsage
) -> dict[str, Any]:
    samples = []
    for each in found:
        result = each.result
        samples.append(
            {
                "prompt": each.kept.prompt,
                "language": each.kept.language,
                "code": each.kept.code,
                "old": {"score": each.kept.score, "criteria": dict(each.kept.criteria)},
                "new": result.model_dump(mode="json"),
                "change": each.change,
            }
        )
    return {
        "old_rubric": old.version,
        "new_rubric": new.version,
        "samples": samples,
        "usage": usage.model_dump(mode="json"),
    }
