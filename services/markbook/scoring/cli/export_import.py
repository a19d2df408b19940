"""`markbook export` and `markbook import`: stored marks as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Never, TextIO

import typer
from tqdm import tqdm

from markbook.cli.files import standard_input
from markbook.cli.options import FAILED, INTERRUPTED, ConfigOption, JsonOption, new_app
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.app import unix_ms
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import RetentionPolicy, Store
from markbook.scoring.store.export_import import ImportFailedError, export_lines, import_lines
from markbook.terminal import printable

export = new_app(
    "Writes every mark, with task and code where they are stored, as a line of JSON after a header line. The service "
    "may run meanwhile.",
    "markbook export marks.jsonl",
    "markbook export | gzip > marks.jsonl.gz",
)
import_ = new_app(
    "Adds the marks of an export. Marks that are stored already stay as they are.",
    "markbook import marks.jsonl",
    "markbook import - --config other.yaml < marks.jsonl",
)


@export.command()
def write_marks(
    file: Annotated[str, typer.Argument(help="File to write; - for standard output.")] = "-",
    config: ConfigOption = None,
) -> None:
    settings = load_config(config)
    rubric = load_rubric(settings.teacher.rubric)
    with _open_store(settings) as store, _bar(store.records.count()) as bar:
        lines = 0
        try:
            with _output(file) as output:
                for lines, line in enumerate(export_lines(store, rubric)):
                    output.write(line)
                    bar.update(lines > 0)
                output.flush()
        except KeyboardInterrupt:
            print("stopped: nothing is exported" if file != "-" else "stopped", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        bar.close()
        print(f"{lines:,} marks exported from {store.where}", file=sys.stderr)


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
def _output(name: str) -> Iterator[TextIO]:
    """The file appears under its name only once it is complete."""
    if name == "-":
        yield sys.stdout
        return
    part = Path(f"{name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
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
