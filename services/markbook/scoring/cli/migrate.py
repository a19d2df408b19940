"""`migrate`: the database's schema brought to this version's, which `serve` does too."""

from __future__ import annotations

import argparse

from markbook.config.loading import load_config
from markbook.scoring.cli import Subparsers, add_command, add_config
from markbook.scoring.store.engine import migrate, open_engine, redact_url, versions


def register(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "migrate",
        "Brings the database to this version's schema, under a lock: of several that start together one does it, the "
        "others wait. serve, keys and import do so too. There is no way back but a backup.",
        "migrate",
        "migrate --check || echo 'there is something to do'",
    )
    add_config(parser)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the database is behind")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    engine = open_engine(load_config(arguments.config).store.database_url)
    where = redact_url(engine.url)
    try:
        if arguments.check:
            now, newest = versions(engine)
            behind = now != newest
            print(f"{where}: {_name(now)}, " + (f"behind {_name(newest)}" if behind else "the newest"))
            return int(behind)
        before, after = migrate(engine)
        print(f"{where}: " + (f"{_name(after)} already" if before == after else f"{_name(before)} -> {_name(after)}"))
        return 0
    finally:
        engine.dispose()


def _name(version: str | None) -> str:
    return "no schema" if version is None else f"schema {version}"
