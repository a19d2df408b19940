"""`markbook judge`: how well teachers judge, and what they cost, on samples whose truth is
known.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from markbook.cli.files import check_writable, write_text
from markbook.cli.options import JsonOption, new_app
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.cli.confirm_cost import (
    BatchOption,
    check_run_name,
    confirm_calls,
    describe_cost,
    exit_stopped,
    progress_bar,
)
from markbook.scoring.cli.judge_page import render
from markbook.scoring.cli.judge_table import as_json as report_as_json
from markbook.scoring.cli.judge_table import lines
from markbook.scoring.cli.stop_signals import run_until_signal, sigterm_as_ctrl_c
from markbook.scoring.judging.costs import MOST, estimate_cost
from markbook.scoring.judging.ground_truth import find_truths
from markbook.scoring.judging.labelled import LabelledSample, number_tasks, read_labelled
from markbook.scoring.judging.marking import Marking, find_missing, in_batches, mark_samples
from markbook.scoring.judging.report import LabelledFile, Report, compare_teachers, report_on

BELOW = 1
"""The exit status where an AUC is below --min-auc, or undefined."""
SLOW = 2_000_000
"""Samples times resamples from which the intervals take some seconds."""

app = new_app(
    "Measures teachers on samples whose truth is known: how well their scores agree with it, how "
    "often they are wrong, and what they cost, each with its 95% interval. Every configuration "
    "marks all samples through the service's own pipeline: marks are stored, budgets apply, and "
    "what is stored already is not paid for again. Exit status: 0, or 1 where an AUC is below "
    "--min-auc or undefined.",
    "markbook judge labelled.jsonl --teacher config.yaml --min-auc 0.8",
    "markbook judge labelled.jsonl.gz --teacher a.yaml --teacher b.yaml --yes",
    "markbook judge labelled.jsonl --teacher config.yaml --again 2 --json",
    "markbook judge labelled.jsonl --teacher config.yaml --html judged.html",
    notes="FILE has lines of {prompt, language, code} and one truth: passed (true or\n"
    "false), score (0 to 1, by people), or tests (Python, run in the sandbox).\n"
    "The AUC is the probability that right code has a higher score than wrong\n"
    "code. Intervals are bootstrapped over tasks.",
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A configuration to measure."""

    name: str
    config: Config


@app.command()
def judge(
    file: Annotated[str, typer.Argument(help="JSONL of samples with a truth; .gz: compressed.")],
    teacher: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="Configuration of a teacher to measure; may be repeated."
        ),
    ],
    again: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=20,
            help="Request each mark N more times, for its retest deviation.",
        ),
    ] = 0,
    right_from: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, max=1, help="Truths given as a score are right from X on."
        ),
    ] = 0.5,
    min_auc: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, max=1, help="Exit with status 1 if an AUC is below X."),
    ] = None,
    run: Annotated[
        str, typer.Option(metavar="NAME", help="The run that the marks are counted under.")
    ] = "judge",
    resamples: Annotated[
        int, typer.Option(metavar="N", min=100, help="Resamples of the bootstrap.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the bootstrap.")] = 0,
    batch: BatchOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before calls that cost money.")
    ] = False,
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the report as a page as well, without scripts."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    check_run_name(run)
    candidates = _load(teacher, batch=batch)
    if html is not None:
        check_writable(html)  # before anything is paid for
    try:
        with sigterm_as_ctrl_c():
            labelled = _label(read_labelled(file), candidates[0].config, right_from, file)
            _confirm(candidates, labelled, again, yes=yes)
            markings = _mark(candidates, labelled, again, run)
            report = _evaluate(candidates, labelled, markings, resamples, seed)
    except KeyboardInterrupt:
        exit_stopped([each.config for each in candidates])
    settings = {
        "file": file,
        "resamples": resamples,
        "seed": seed,
        "right_from": right_from,
        "again": again,
    }
    if html is not None:
        write_text(html, render(labelled, report, settings))
        print(f"report written to {html}", file=sys.stderr)
    if as_json:
        print(json.dumps(report_as_json(labelled, report, settings), indent=2))
    else:
        print(*lines(labelled, report), sep="\n")
    aucs = [each.figures["auc"].value for each in report.teachers]
    if any(value is None or (min_auc is not None and value < min_auc) for value in aucs):
        raise typer.Exit(BELOW)


def _load(paths: Sequence[Path], *, batch: bool) -> list[_Candidate]:
    """The configurations, named by their files' stems, or by their whole paths where two have
    the same stem.
    """
    if duplicate := next((path for path in paths if paths.count(path) > 1), None):
        raise ConfigError(f"--teacher {duplicate} is given twice")
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    candidates = [
        _Candidate(name, load_config(path)) for name, path in zip(names, paths, strict=True)
    ]
    for path, each in zip(paths, candidates, strict=True):
        if each.config.rlaif.tests_policy == "only":
            raise ConfigError(
                f"{path}: rlaif.tests_policy is only, so that there is no teacher to measure"
            )
    return (
        [_Candidate(each.name, in_batches(each.config)) for each in candidates]
        if batch
        else candidates
    )


def _label(
    samples: Sequence[LabelledSample], config: Config, right_from: float, name: str
) -> LabelledFile:
    """The samples whose truth is known.

    Raises ConfigError where these are not both right and wrong ones.
    """
    with progress_bar(sum(each.tests is not None for each in samples), "tests") as bar:
        truths = find_truths(samples, config.execution, right_from, bar.update)
    known = [
        (sample, truth) for sample, truth in zip(samples, truths, strict=True) if truth is not None
    ]
    if unknown := len(samples) - len(known):
        print(
            f"{unknown:,} samples left out: the sandbox lacks something that their tests need",
            file=sys.stderr,
        )
    if len({truth.is_right for _, truth in known}) < 2:
        which = "right" if known and known[0][1].is_right else "wrong"
        raise ConfigError(
            f"{name}: all {len(known):,} samples with a known truth are {which}: both kinds are "
            "needed"
        )
    left = [sample for sample, _ in known]
    return LabelledFile(left, [truth for _, truth in known], number_tasks(left))


def _confirm(
    candidates: Sequence[_Candidate], file: LabelledFile, again: int, *, yes: bool
) -> None:
    """Print the estimate; raise ConfigError, or exit, where money would be spent without
    consent.
    """
    is_paid = False
    for each in candidates:
        missing = [
            asyncio.run(find_missing(each.config, file.samples, repeat))
            for repeat in range(again + 1)
        ]
        print(_estimate(each, file, missing), file=sys.stderr)
        is_paid = is_paid or (any(missing) and each.config.teacher.name != "static")
    if is_paid:
        confirm_calls(yes=yes)


def _estimate(each: _Candidate, file: LabelledFile, missing: Sequence[Sequence[int]]) -> str:
    """One line.

    `missing`: the samples without a stored mark, for the first marks and for every repeat.
    """
    marks = len(file.samples) * len(missing)
    known = f"{each.name}: {marks:,} marks, {marks - sum(map(len, missing)):,} of them stored"
    if each.config.teacher.name == "static":
        return f"{known}; the static teacher is free"
    asked = (each.config, file.samples, file.tasks)
    likely = [estimate_cost(*asked, indices) for indices in missing]
    most = [estimate_cost(*asked, indices, MOST) for indices in missing]
    return f"{known}; {each.config.teacher.model}: {describe_cost(each.config, likely, most)}"


def _mark(
    candidates: Sequence[_Candidate], file: LabelledFile, again: int, run: str
) -> list[list[Marking]]:
    """The first marks of each configuration, then its repeats."""
    markings: list[list[Marking]] = []
    with progress_bar(len(file.samples) * (again + 1) * len(candidates), "marks") as bar:
        for each in candidates:
            bar.set_description(each.name)
            own: list[Marking] = []
            for repeat in range(again + 1):
                work = mark_samples(
                    each.config,
                    file.samples,
                    file.tasks,
                    run=run,
                    repeat=repeat,
                    on_marked=bar.update,
                )
                own.append(run_until_signal(work))
            markings.append(own)
    return markings


def _evaluate(
    candidates: Sequence[_Candidate],
    file: LabelledFile,
    markings: Sequence[Sequence[Marking]],
    resamples: int,
    seed: int,
) -> Report:
    if len(file.samples) * resamples * len(candidates) > SLOW:
        print(f"computing intervals from {resamples:,} resamples", file=sys.stderr)
    teachers = [
        report_on(each.name, each.config, file, own, resamples=resamples, seed=seed)
        for each, own in zip(candidates, markings, strict=True)
    ]
    return compare_teachers(teachers, tasks=file.task_count, resamples=resamples, seed=seed)
