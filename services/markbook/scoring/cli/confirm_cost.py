"""Confirms calls that cost money, for `judge`, `rescore`, `rubric try`: the run's name, the
cost, the end by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from markbook.cli.options import INTERRUPTED
from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.contract.wire import RunName
from markbook.scoring.budgets.cost_estimate import Forecast, is_batched
from markbook.scoring.cli.client import dollars

BatchOption = Annotated[
    bool,
    typer.Option(
        "--batch", help="Mark in batches, as with teacher.batch: half the price, up to a day."
    ),
]


def check_run_name(name: str, option: str = "--run") -> None:
    """Raises ConfigError for what no run may be called."""
    try:
        TypeAdapter(RunName).validate_python(name)
    except ValidationError as error:
        raise ConfigError(f"{option} {name!r:.80}: {error.errors()[0]['msg']}") from error


def describe_cost(config: Config, likely: Sequence[Forecast], most: Sequence[Forecast]) -> str:
    """A phrase, the sums over the forecasts: `3 calls, 4,000 tokens, about $0.001, ...`."""
    calls = sum(forecast.calls for forecast in likely)
    tokens = sum(forecast.tokens.sent + forecast.tokens.output for forecast in likely)
    what = "batched requests" if is_batched(config) else "calls"
    return (
        f"{calls:,.0f} {what}, {tokens:,.0f} tokens, about {dollars(_sum_usd(likely))}, "
        f"without retries at most {dollars(_sum_usd(most))}"
    )


def _sum_usd(forecasts: Sequence[Forecast]) -> float | None:
    costs = [forecast.usd for forecast in forecasts]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def exit_stopped(configs: Sequence[Config]) -> NoReturn:
    """After Ctrl-C. Raises typer.Exit."""
    in_progress = ", batches continue at the provider" if any(map(is_batched, configs)) else ""
    print(
        f"stopped: the marks so far are stored{in_progress}, and the same command continues",
        file=sys.stderr,
    )
    raise typer.Exit(INTERRUPTED)


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
