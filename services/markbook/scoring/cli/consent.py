"""Consent to calls that cost money."""

from __future__ import annotations

import sys

import typer

from markbook.cli.options import INTERRUPTED
from markbook.config.loading import ConfigError


def confirm_calls(*, yes: bool) -> None:
    """Return with consent: `yes`, or an answer on a terminal. Exits where it is refused.

    Raises ConfigError where there is no terminal.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError("these calls cost money: add --yes to make them without being asked")
    if not typer.confirm("make these calls?", err=True):
        raise typer.Exit(INTERRUPTED)
