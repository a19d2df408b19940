"""`markbook export` and `markbook import`: stored marks as JSON lines, CSV or Parquet, and JSON
lines as marks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Never

import typer
from tqdm import tqdm

from markbook.cli.files import standard_input
from markbook.cli.options import FAILED, INTERRUPTED, ConfigOption, JsonOption, new_app
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.app import unix_ms
from markbook.scoring.cli.client import parse_since
from markbook.scoring.exports.export import ExportFormat, ExportOptions, MarkExport
from markbook.scoring.exports.pairs import MIN_MARGIN
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import MarkFilter, RetentionPolicy, Store
from markbook.scoring.store.export_import import ImportFailedError, import_lines, pages
from markbook.terminal import printable

export = new_app(
    "Writes the marks of the store, with task and code where they are stored. JSON lines have a "
    "header line and can be imported again. The service may run meanwhile.",
    "markbook export marks.jsonl",
    "markbook export | gzip > marks.jsonl.gz",
    "markbook export marks.csv --run demo --since 7d --min-score 0.8",
    "markbook export pairs.jsonl --pairs --min-margin 0.2",
    notes="--pairs writes the best and the worst sample of each task in the columns\n"
    "prompt, chosen and rejected, as TRL's DPO and reward trainers read them.\n"
    "In CSV, text that a spreadsheet would run as a formula (=, +, -, @) has an\n"
    "apostrophe before it; JSON lines and Parquet hold it unchanged.",
)
import_ = new_app(
    "Adds the marks of an export. Marks that are stored already stay as they are.",
    "markbook import marks.jsonl",
    "markbook import - --config other.yaml < marks.jsonl",
)


@export.command()
def write_marks(
    file: Annotated[str, typer.Argument(help="File to write; - for standard output.")] = "-",
    format: Annotated[
        ExportFormat | None,
        typer.Option(help="Default: from the suffix of FILE, else jsonl. parquet needs pyarrow."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only marks that this run paid for or received."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only marks from then on: 2026-11-22, 24h or 7d."),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, max=1, help="Only marks, or pairs' best, of at least X."),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Preference pairs instead of marks.")
    ] = False,
    min_margin: Annotated[
        float,
        typer.Option(metavar="X", min=0, max=1, help="Least difference of the scores of a pair."),
    ] = MIN_MARGIN,
    config: ConfigOption = None,
) -> None:
    settings = load_config(config)
    selection = MarkFilter(
        run, None if since is None else round(parse_since(since).timestamp() * 1000)
    )
    options = ExportOptions(format or _format_of(file), selection, min_score, pairs, min_margin)
    rubric = load_rubric(settings.teacher.rubric)
    with _open_store(settings) as store, _bar(store.records.count()) as bar:
        profiles = store.records.profiles()
        marks = MarkExport(profiles, rubric, options)
        try:
            with _output(file) as output:
                output.write(marks.start())
                for page in pages(store, profiles, selection):
                    output.write(marks.page(page))
                    bar.update(len(page))
                output.write(marks.end())
                output.flush()
        except KeyboardInterrupt:
            print("stopped: nothing is exported" if file != "-" else "stopped", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        bar.close()
        what = "pairs" if pairs else "marks"
        print(f"{marks.exported:,} {what} exported from {store.where}", file=sys.stderr)


def _format_of(name: str) -> ExportFormat:
    suffix = Path(name).suffix.removeprefix(".").lower()
    return ExportFormat(suffix) if suffix in set(ExportFormat) else ExportFormat.JSONL


@import_.command()
def read_marks(
    file: Annotated[str, typer.Argument(help="An export; - for standard input.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    read = new = status = 0
    with _open_store(load_config(config)) as store, _input(file) as lines, _bar() as bar:
        try:
            for batch, added in import_lines(store, lines, unix_ms()):
                read, new = read + batch, new + added
                bar.update(batch)
        except ImportFailedError as error:
            print(printable(f"{file}: {error}"), file=sys.stderr)
            status = FAILED
        except KeyboardInterrupt:
            status = INTERRUPTED
        bar.close()
        known = f", {read - new:,} were stored already" if read > new else ""
        print(f"{new:,} marks imported into {store.where}{known}", file=sys.stderr)
        if as_json:
            print(json.dumps({"read": read, "imported": new, "stored_already": read - new}))
    if status:
        raise typer.Exit(status)


@contextmanager
def _open_store(config: Config) -> Iterator[Store]:
    lease_ms = round(config.store.claim_lease_s * 1000)
    store = Store(config.store.database_url, lease_ms, RetentionPolicy.of(config.store))
    try:
        store.migrate()
        yield store
    finally:
        asyncio.run(store.close())


def _bar(total: int | None = None) -> tqdm[Never]:
    """On a terminal only."""
    return tqdm(total=total, unit=" marks", disable=None, leave=False)


@contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """The file appears under its name only once it is complete."""
    if name == "-":
        if sys.stdout is None:
            raise ConfigError("cannot write -: standard output is closed")
        yield sys.stdout.buffer
        return
    part = Path(f"{name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(name)
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _input(name: str) -> BinaryIO:
    if name == "-":
        return standard_input()
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
