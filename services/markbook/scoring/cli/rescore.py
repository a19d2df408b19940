"""`markbook rescore`: stored samples under another model or rubric, beside their old marks."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from markbook.cli.options import ConfigOption, JsonOption, new_app, positive
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.cli.client import parse_since
from markbook.scoring.cli.confirm_cost import (
    BatchOption,
    check_run_name,
    confirm_calls,
    describe_cost,
    exit_stopped,
    progress_bar,
)
from markbook.scoring.cli.rescore_table import as_json as report_as_json
from markbook.scoring.cli.rescore_table import lines, name_of
from markbook.scoring.cli.stop_signals import run_until_signal, sigterm_as_ctrl_c
from markbook.scoring.judging.costs import LIKELY, MOST, estimate_cost
from markbook.scoring.judging.marking import Marking, find_missing, in_batches, mark_samples
from markbook.scoring.judging.rescoring import (
    Selection,
    find_profile,
    limit_spending,
    report_on,
    select_marks,
)
from markbook.scoring.languages import canonical
from markbook.scoring.store import MarkFilter

app = new_app(
    "Marks stored samples again under another model or rubric, and shows old and new scores side "
    "by side: how alike they are, where they part most, and what the new ones would have changed "
    "in the advantages. The old marks stay. An estimate comes first; what is stored already is "
    "not paid for again. The service may run meanwhile.",
    "markbook rescore --run demo --model claude-sonnet-5-5 --usd 2",
    "markbook rescore --rubric strict.md --language python --since 7d --yes",
    "markbook rescore --teacher other.yaml --limit 500 --json > rescored.json",
    notes="Only samples whose texts are stored can be marked again. Tests decide nothing\n"
    "here: both scores are the teachers' own.",
)


@app.command()
def rescore(
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Configuration of the new teacher; its store is not used."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another Claude model, else as --config.")
    ] = None,
    rubric: Annotated[
        str | None, typer.Option(metavar="FILE", help="Another rubric, else as --config.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="NAME", help="Only marks of this run.")] = None,
    language: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only samples in this language.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="TIME", parser=parse_since, help="Only marks made since: 2026-11-22, 7d."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=parse_since, help="Only marks made before."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Profile of the old marks (default: that of --config)."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the newest N marks.")
    ] = None,
    usd: Annotated[
        float | None,
        typer.Option(metavar="X", parser=positive(1e9), help="Spend at most X dollars now."),
    ] = None,
    as_run: Annotated[
        str, typer.Option(metavar="NAME", help="The run that the new marks are counted under.")
    ] = ("rescore"),
    parted: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show the N samples that part most.")
    ] = 5,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=100, help="Resamples of the bootstrap.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the bootstrap.")] = 0,
    batch: BatchOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before calls that cost money.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    check_run_name(as_run, "--as-run")
    old = load_config(config)
    new = _new_config(old, teacher, model, rubric)
    if batch:
        new = in_batches(new)
    old_profile, chosen = _old_profile(old, profile), MarkFilter(run, _ms(since), _ms(until))
    if find_profile(new) == old_profile:
        raise ConfigError(
            "the new teacher is the old one: give another --teacher, --model or --rubric"
        )
    if usd is not None:
        new = limit_spending(new, as_run, usd)
    try:
        with sigterm_as_ctrl_c():
            selection = select_marks(
                old, old_profile, chosen, language and canonical(language), limit
            )
            _confirm(new, selection, yes=yes)
            marking = _mark(new, selection, as_run)
    except KeyboardInterrupt:
        exit_stopped([new])
    report = report_on(selection, marking, resamples=resamples, seed=seed)
    if as_json:
        settings = {"run": run, "language": language, "resamples": resamples, "seed": seed}
        print(json.dumps(report_as_json(report, old, new, settings, parted), indent=2))
    else:
        print(*lines(report, old, new, parted), sep="\n")


def _old_profile(old: Config, given: str | None) -> str:
    if given is not None and not re.fullmatch("[0-9a-f]{16}", given):
        raise ConfigError(
            f"--profile {given!r:.80} is no profile: 16 hexadecimal digits, as in /stats and "
            "results"
        )
    return given or find_profile(old)


def _new_config(old: Config, teacher: Path | None, model: str | None, rubric: str | None) -> Config:
    """The new teacher's configuration, with the old one's store: there the samples are, and
    there the marks go.
    """
    if teacher is not None and (model is not None or rubric is not None):
        raise ConfigError("--teacher names a whole configuration: give it, or --model and --rubric")
    if teacher is None and model is None and rubric is None:
        raise ConfigError("name the new teacher: --teacher FILE, --model NAME or --rubric FILE")
    if teacher is not None:
        new = load_config(teacher)
    else:
        changes: dict[str, object] = (
            {"name": "anthropic", "model": model} if model is not None else {}
        )
        changes |= {"rubric": rubric} if rubric is not None else {}
        new = old.model_copy(update={"teacher": old.teacher.model_copy(update=changes)})
    if new.rlaif.tests_policy == "only":
        raise ConfigError(
            "rlaif.tests_policy is only, so that there is no teacher to mark anything"
        )
    return new.model_copy(update={"store": old.store})


def _confirm(new: Config, selection: Selection, *, yes: bool) -> None:
    """Print the estimate; raise ConfigError, or exit, where money would be spent without
    consent.
    """
    if not selection.samples:
        why = ", ".join(f"{reason} ({count:,})" for reason, count in selection.left_out.items())
        raise ConfigError(
            f"none of {sum(selection.left_out.values()):,} marks can be made again: {why}"
        )
    missing = asyncio.run(find_missing(new, selection.samples, 0))
    marks = len(selection.samples)
    known = f"{marks:,} marks by {name_of(new)}, {marks - len(missing):,} of them stored"
    if new.teacher.name == "static":
        print(f"{known}; the static teacher is free", file=sys.stderr)
        return
    likely, most = (
        estimate_cost(new, selection.samples, selection.groups, missing, assumed)
        for assumed in (LIKELY, MOST)
    )
    print(f"{known}; {describe_cost(new, [likely], [most])}", file=sys.stderr)
    if missing:
        confirm_calls(yes=yes)


def _mark(new: Config, selection: Selection, run: str) -> Marking:
    """Each old group is one request, so that a sample has the companions it had."""
    with progress_bar(len(selection.samples), "marks") as bar:
        work = mark_samples(
            new, selection.samples, selection.groups, run=run, repeat=0, on_marked=bar.update
        )
        return run_until_signal(work)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
