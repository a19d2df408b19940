"""`markbook migrate`: updates the database schema to this version, which `serve` does as well."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from markbook.cli.options import ConfigOption, JsonOption, new_app
from markbook.config.loading import load_config
from markbook.scoring.store.engine import migrate, open_engine, redact_url, versions

BEHIND = 1
"""The exit status of --check where the schema is older than this version's."""

app = new_app(
    "Updates the database schema to this version, under a lock: of several processes that start "
    "together one updates, the others wait. serve, keys and import do so too. Restoring a backup "
    "is the only way back. Exit status of --check: 0 up to date, 1 behind.",
    "markbook migrate",
    "markbook migrate --check || echo 'an update is needed'",
)


@app.command()
def migrate_store(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if the schema is behind.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    engine = open_engine(load_config(config).store.database_url)
    try:
        before, newest = versions(engine) if check else migrate(engine)
        where = redact_url(engine.url)
    finally:
        engine.dispose()
    if as_json:
        after = before if check else newest
        print(json.dumps({"database": where, "before": before, "after": after, "newest": newest}))
    else:
        print(f"{where}: {_line(before, newest, check)}")
    if check and before != newest:
        raise typer.Exit(BEHIND)


def _line(before: str | None, newest: str | None, check: bool) -> str:
    if before == newest:
        return f"{_name(newest)}, up to date"
    return (
        f"{_name(before)}, behind {_name(newest)}"
        if check
        else f"{_name(before)} -> {_name(newest)}"
    )


def _name(version: str | None) -> str:
    return "no schema" if version is None else f"schema {version}"
