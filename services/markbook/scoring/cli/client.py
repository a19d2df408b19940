"""What the commands share that ask a running service: its address, its key, and how numbers are written."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from markbook.client import RetryPolicy, ScoringClient, ServiceUnavailableError
from markbook.config.loading import load_config
from markbook.scoring.cli import add_config

_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_service(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--url", metavar="URL", help="the running service (default: $MARKBOOK_URL, else rlaif.scoring_url)"
    )


@contextmanager
def service(arguments: argparse.Namespace) -> Iterator[ScoringClient]:
    """A client that does not wait for a service that is away: who types a command sees at once what is wrong."""
    rlaif = load_config(arguments.config).rlaif
    client = ScoringClient(
        arguments.url or rlaif.scoring_url,
        timeout_s=rlaif.request_timeout_s,
        patience=RetryPolicy(0.0),
    )
    with client:
        try:
            yield client
        except ServiceUnavailableError as error:
            raise ServiceUnavailableError(
                f"{error}; is it running? python -m markbook.scoring starts one, --url names another one"
            ) from error


def since(text: str) -> datetime:
    """An ISO 8601 time, UTC if it names no zone, or so long ago: 90m, 24h, 7d."""
    if found := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: say 2026-11-22, 2026-11-22T18:00, 24h or 7d") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def dollars(usd: float | None) -> str:
    """Four digits after the point and at least two that count: a sample costs far less than a cent."""
    if usd is None:
        return "price unknown"
    return f"${usd:,.4f}" if usd == 0 or abs(usd) >= 0.01 else f"${usd:.2g}"
