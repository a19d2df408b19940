"""Confirms calls that cost money, for `judge`, `rescore` and `rubric try`; checks their run's name, shows progress."""

from __future__ import annotations

import sys
from typing import Any

import typer
from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from markbook.cli.options import INTERRUPTED
from markbook.config.loading import ConfigError
from markbook.contract.wire import RunName


def check_run_name(name: str, option: str = "--run") -> None:
    """Raises ConfigError for what no run may be called."""
    try:
        TypeAdapter(RunName).validate_python(name)
    except ValidationError as error:
        raise ConfigError(f"{option} {name!r:.80}: {error.errors()[0]['msg']}") from error


def confirm_calls(*, yes: bool) -> None:
    """Raises ConfigError, or exits, where money would be spent without consent."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError("these calls cost money: add --yes to make them without being asked")
    if not typer.confirm("make these calls?", err=True):
        raise typer.Exit(INTERRUPTED)


def progress_bar(total: int, unit: str) -> Any:
    """On a terminal only, on stderr."""
    return tqdm(total=total, unit=f" {unit}", disable=None, leave=False)
