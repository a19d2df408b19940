"""What the commands share that call a running service: its address, its key, and how numbers are
written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from markbook.client import RetryPolicy, ScoringClient, ServiceUnavailableError
from markbook.config.loading import load_config

UrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The running service (default: $MARKBOOK_URL, else rlaif.scoring_url)."
    ),
]

_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@contextmanager
def service(url: str | None, config: Path | None) -> Iterator[ScoringClient]:
    """A client that does not wait for a service that is away, so that a user sees at once what
    is wrong.
    """
    rlaif = load_config(config).rlaif
    client = ScoringClient(
        url or rlaif.scoring_url,
        timeout_s=rlaif.request_timeout_s,
        retry_policy=RetryPolicy(0.0),
    )
    with client:
        try:
            yield client
        except ServiceUnavailableError as error:
            raise ServiceUnavailableError(
                f"{error}; is it running? `markbook serve` starts one, --url selects another"
            ) from error


def parse_since(text: str) -> datetime:
    """An ISO 8601 time, UTC if it names no zone, or a span before now: 90m, 24h, 7d."""
    found = _AGO.fullmatch(text)
    try:
        if found:
            return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:  # a span may reach back to before there were dates
        raise typer.BadParameter(
            f"{text!r} is not a time: use 2026-11-22, 2026-11-22T18:00, 24h or 7d"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def dollars(usd: float | None) -> str:
    """Four digits after the point and at least two significant ones: a sample costs far less
    than a cent.
    """
    if usd is None:
        return "price unknown"
    return f"${usd:,.4f}" if usd == 0 or abs(usd) >= 0.01 else f"${usd:.2g}"
