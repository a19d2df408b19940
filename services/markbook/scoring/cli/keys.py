"""`markbook keys`: creates, lists, rotates and revokes API keys.

The store has only hashes: a key is shown once.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from markbook.cli.options import ConfigOption, JsonOption, new_app, table
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Budget, Config
from markbook.scoring.api.auth import KEY_CACHE_TTL_S, hash_secret, new_secret
from markbook.scoring.api.key_admin import KeySettings, parse_settings
from markbook.scoring.app import unix_ms
from markbook.scoring.errors import BadRequestError
from markbook.scoring.store import KEY_NAME, OWNER, RUN_PATTERN, ApiKey, Store
from markbook.scoring.store.settlement import key_scope

T = TypeVar("T")


class Period(StrEnum):
    DAY = "day"
    MONTH = "month"


app = new_app(
    "Creates, lists, rotates and revokes API keys. The store holds their hashes only, so a key is "
    "shown once. Once there is a key, every request needs one.",
    "markbook keys add ann --runs 'team-a/*' --usd 5 --per day",
    "markbook keys add prometheus --tokens 0    # reads /metrics only",
    "markbook keys add owner --admin            # manages keys on the page /keys",
    "markbook keys list",
    "markbook keys rotate ann",
    "markbook keys revoke ann",
)


def _matching(form: re.Pattern[str], marks: str) -> Callable[[str], str]:
    """A parser of text in this form. `marks`: what it may contain besides letters and digits."""

    def read(text: str) -> str:
        if not form.fullmatch(text):
            raise typer.BadParameter(f"{text!r} is not 1 to 128 letters, digits and any of {marks}")
        return text

    return read


@app.command()
def add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            parser=_matching(KEY_NAME, ". _ : / @ + -"),
            help="Name of the key; a name is used once.",
        ),
    ],
    runs: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            parser=_matching(RUN_PATTERN, ". _ : / @ + - * ? [ ] !"),
            help="Runs that it may use, such as 'team-a/*'.",
        ),
    ] = "*",
    usd: Annotated[float | None, typer.Option(metavar="X", help="Dollars it may spend.")] = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens it may spend.")] = None,
    per: Annotated[
        Period | None, typer.Option(help="The period of both limits, UTC (default: in all).")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(metavar="N", help="More are a 429.")
    ] = None,
    samples_per_minute: Annotated[
        int | None, typer.Option(metavar="N", help="More are a 429.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(metavar="D", help="Days until it expires (default: never).")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="May manage keys on the page /keys; for all runs.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create a key and print it, once."""
    settings = load_config(config)
    if usd is not None and settings.teacher.name != "static" and settings.teacher.price() is None:
        raise ConfigError(
            f"--usd needs the price of {settings.teacher.model}: set it under teacher.prices"
        )
    limits = {
        "requests_per_minute": requests_per_minute,
        "samples_per_minute": samples_per_minute,
        "days": days,
    }
    wanted = _parsed(
        {"runs": runs, "usd": usd, "tokens": tokens, "per": per, "is_admin": admin, **limits}
    )
    secret = new_secret()

    async def work(store: Store) -> bool:
        now_ms = unix_ms()
        if not await store.keys.add(
            wanted.apply(ApiKey(name, hash_secret(secret), "*", Budget(), now_ms), now_ms)
        ):
            raise ConfigError(f"there is or was a key of the name {name}: choose another")
        return len(await store.keys.all()) == 1

    first = _with_store(settings, work)
    print(json.dumps({"name": name, "key": secret, "runs": runs}) if as_json else secret)
    print(
        f"Keep it: it is shown this once. It applies within {KEY_CACHE_TTL_S:g} s.", file=sys.stderr
    )
    if first:
        print(
            "It is the first: from now on every request needs one (trainer: MARKBOOK_API_KEY).",
            file=sys.stderr,
        )


@app.command("list")
def list_keys(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show all keys and what they have spent."""

    async def work(store: Store) -> tuple[list[ApiKey], dict[str, tuple[int, int]], str]:
        keys = await store.keys.all()
        return keys, await _spent(store, keys), store.where

    keys, spent, where = _with_store(load_config(config), work)
    if as_json:
        print(json.dumps([_as_json(key, *spent[key.name]) for key in keys], indent=2))
        return
    if not keys:
        print(f"{where} has no keys: anyone who can reach the service may use it", file=sys.stderr)
    rows = [("NAME", "RUNS", "USD", "TOKENS", "CREATED", "USED", "EXPIRES", "REVOKED")]
    for key in keys:
        nusd, tokens = spent[key.name]
        usd = _of_limit(f"{nusd / 1e9:.4f}", key.budget.usd, key.budget.per)
        counted = _of_limit(str(tokens), key.budget.tokens, key.budget.per)
        dates = (key.created_ms, key.last_used_ms, key.expires_ms, key.revoked_ms)
        rows.append((key.name, key.runs, usd, counted, *map(_date, dates)))  # type: ignore[arg-type]
    print(*table(rows), sep="\n")


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Replace a key's secret and print the new one, once. What it may do and has spent stays."""
    secret = new_secret()

    async def work(store: Store) -> None:
        found = [
            key for key in await store.keys.all() if key.name == name and key.revoked_ms is None
        ]
        if not found or not await store.keys.rotate(
            name, hash_secret(secret), unix_ms(), found[0].issued_ms
        ):
            raise _no_valid_key(name)

    _with_store(load_config(config), work)
    print(json.dumps({"name": name, "key": secret}) if as_json else secret)
    print(
        f"Keep it: it is shown this once. The old one is refused within {KEY_CACHE_TTL_S:g} s.",
        file=sys.stderr,
    )


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the key.")], config: ConfigOption = None
) -> None:
    """Refuse a key from now on."""

    async def work(store: Store) -> bool:
        if not await store.keys.revoke(name, unix_ms()):
            raise _no_valid_key(name)
        return all(key.revoked_ms is not None for key in await store.keys.all())

    last = _with_store(load_config(config), work)
    print(f"{name} is refused within {KEY_CACHE_TTL_S:g} s.", file=sys.stderr)
    if last:
        print("No valid key is left: every request is refused until one is added.", file=sys.stderr)


def _parsed(fields: dict[str, Any]) -> KeySettings:
    try:
        return parse_settings(fields)
    except BadRequestError as error:
        option = (error.field or "").replace("_", "-")
        raise ConfigError(f"--{option}{error.detail.removeprefix(error.field or '')}") from error


def _no_valid_key(name: str) -> ConfigError:
    return ConfigError(f"there is no valid key {name}: see `markbook keys list`")


def _with_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    store = Store(config.store.database_url, lease_ms=round(config.store.claim_lease_s * 1000))
    store.migrate()

    async def run() -> T:
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def _spent(store: Store, keys: list[ApiKey]) -> dict[str, tuple[int, int]]:
    """By key, nano-dollars and tokens: of the current day or month where its budget has one."""
    money, now_ms = store.money, unix_ms()
    spent = {
        None: await money.spent(OWNER),
        "day": await money.spent_in(OWNER, "day", now_ms),
        "month": await money.spent_in(OWNER, "month", now_ms),
    }
    return {key.name: spent[key.budget.per].get(key_scope(key.name), (0, 0)) for key in keys}


def _of_limit(spent: str, limit: float | None, per: str | None) -> str:
    if limit is None:
        return spent
    return f"{spent} of {limit if isinstance(limit, int) else format(limit, 'g')}" + (
        f" per {per}" if per else ""
    )


def _as_json(key: ApiKey, nusd: int, tokens: int) -> dict[str, object]:
    return {
        "name": key.name,
        "runs": key.runs,
        "spent_usd": nusd / 1e9,
        "limit_usd": key.budget.usd,
        "spent_tokens": tokens,
        "limit_tokens": key.budget.tokens,
        "per": key.budget.per,
        "admin": key.is_admin,
        "requests_per_minute": key.requests_per_minute,
        "samples_per_minute": key.samples_per_minute,
        "created": _date(key.created_ms),
        "last_used": _date(key.last_used_ms) or None,
        "expires": _date(key.expires_ms) or None,
        "revoked": _date(key.revoked_ms) or None,
    }


def _date(at_ms: int | None) -> str:
    return (
        ""
        if at_ms is None
        else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(" ", timespec="minutes")[:16]
    )
