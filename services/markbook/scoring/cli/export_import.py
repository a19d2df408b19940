"""`export` and `import`: marks out of the book and into it, as lines of JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Never, TextIO

from tqdm import tqdm

from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.app import unix_ms
from markbook.scoring.cli import INTERRUPTED, Subparsers, add_command, add_config
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import RetentionPolicy, Store
from markbook.scoring.store.export_import import ImportFailedError, export_lines, import_lines
from markbook.terminal import printable


def register(subparsers: Subparsers) -> None:
    out = add_command(
        subparsers,
        "export",
        "Writes every mark, with task and code where they are kept, as a line of JSON after a header line. The service "
        "may run meanwhile.",
        "export book.jsonl",
        "export | gzip > book.jsonl.gz",
    )
    out.add_argument("file", metavar="FILE", nargs="?", default="-", help="where to (default: -, standard output)")
    out.set_defaults(run=_export)
    into = add_command(
        subparsers,
        "import",
        "Adds the marks of an export. What the book has already stays as it is.",
        "import book.jsonl",
        "import - < book.jsonl --config other.yaml",
    )
    into.add_argument("file", metavar="FILE", help="an export; - for standard input")
    into.set_defaults(run=_import)
    for parser in (out, into):
        add_config(parser)


def _export(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    rubric = load_rubric(config.teacher.rubric)
    with _book(config) as store, _bar(store.records.count()) as bar:
        lines = 0
        try:
            with _output(arguments.file) as file:
                for lines, line in enumerate(export_lines(store, rubric)):
                    file.write(line)
                    bar.update(lines > 0)
                file.flush()
        except KeyboardInterrupt:
            print("stopped: nothing is exported" if arguments.file != "-" else "stopped", file=sys.stderr)
            return INTERRUPTED
        bar.close()
        print(f"{lines:,} marks exported from {store.where}", file=sys.stderr)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    read = new = status = 0
    with _book(config) as store, _input(arguments.file) as file, _bar() as bar:
        try:
            for batch, added in import_lines(store, file, unix_ms()):
                read, new = read + batch, new + added
                bar.update(batch)
        except ImportFailedError as error:
            print(printable(f"{arguments.file}: {error}"), file=sys.stderr)
            status = 2
        except KeyboardInterrupt:
            status = INTERRUPTED
        bar.close()
        known = f", {read - new:,} were there already" if read > new else ""
        print(f"{new:,} marks imported into {store.where}{known}", file=sys.stderr)
    return status


@contextmanager
def _book(config: Config) -> Iterator[Store]:
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
    """A file takes its name when it is whole."""
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
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
