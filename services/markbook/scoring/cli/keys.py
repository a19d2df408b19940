"""`markbook keys`: creates, lists and revokes API keys. The store holds their hashes only, so a key is shown once."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from markbook.cli.options import ConfigOption, JsonOption, new_app, table
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Budget, Config
from markbook.scoring.api.auth import KEY_CACHE_TTL_S, hash_secret, new_secret
from markbook.scoring.app import unix_ms
from markbook.scoring.store import OWNER, ApiKey, Store
from markbook.scoring.store.budgets import key_scope

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
_PATTERN = re.compile(r"[A-Za-z0-9._:/@+*?\[\]!-]{1,128}")


app = new_app(
    "Creates, lists and revokes API keys. The store holds their hashes only, so a key is shown once. Once there is a "
    "key, every request needs one.",
    "markbook keys add ann --runs 'team-a/*' --usd 5",
    "markbook keys add prometheus --tokens 0    # reads /metrics only",
    "markbook keys list",
    "markbook keys revoke ann",
)


def _matching(form: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not form.fullmatch(text):
            raise typer.BadParameter(f"{text!r} has other characters than {form.pattern}")
        return text

    return read


@app.command()
def add(
    name: Annotated[str, typer.Argument(parser=_matching(_NAME), help="Name of the key; a name is used once.")],
    runs: Annotated[
        str,
        typer.Option(metavar="PATTERN", parser=_matching(_PATTERN), help="Runs that it may use, such as 'team-a/*'."),
    ] = "*",
    usd: Annotated[float | None, typer.Option(metavar="X", help="Dollars it may spend in all.")] = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens it may spend in all.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create a key and print it, once."""
    settings = load_config(config)
    if usd is not None and settings.teacher.name != "static" and settings.teacher.price() is None:
        raise ConfigError(f"--usd needs the price of {settings.teacher.model}: set it under teacher.prices")
    try:
        budget = Budget(usd=usd, tokens=tokens)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"--{fault['loc'][0]} is {fault['input']}: {fault['msg']}") from error
    secret = new_secret()

    async def work(store: Store) -> bool:
        if not await store.keys.add(ApiKey(name, hash_secret(secret), runs, budget, unix_ms())):
            raise ConfigError(f"there is or was a key of the name {name}: choose another")
        return len(await store.keys.all()) == 1

    first = _with_store(settings, work)
    print(json.dumps({"name": name, "key": secret, "runs": runs}) if as_json else secret)
    print(f"Keep it: it is shown this once. It applies within {KEY_CACHE_TTL_S:g} s.", file=sys.stderr)
    if first:
        print("It is the first: from now on every request needs one (trainer: MARKBOOK_API_KEY).", file=sys.stderr)


@app.command("list")
def list_keys(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show all keys and what they have spent."""

    async def work(store: Store) -> tuple[list[ApiKey], dict[str, tuple[int, int]], str]:
        return list(await store.keys.all()), dict(await store.money.spent(OWNER)), store.where

    keys, spent, where = _with_store(load_config(config), work)
    if as_json:
        print(json.dumps([_as_json(key, *spent.get(key_scope(key.name), (0, 0))) for key in keys], indent=2))
        return
    if not keys:
        print(f"{where} has no keys: anyone who can reach the service may use it", file=sys.stderr)
    rows = [("NAME", "RUNS", "USD", "TOKENS", "CREATED", "REVOKED")]
    for key in keys:
        nusd, tokens = spent.get(key_scope(key.name), (0, 0))
        usd = f"{nusd / 1e9:.4f}" + ("" if key.budget.usd is None else f" of {key.budget.usd:g}")
        counted = str(tokens) + ("" if key.budget.tokens is None else f" of {key.budget.tokens}")
        rows.append((key.name, key.runs, usd, counted, _date(key.created_ms), _date(key.revoked_ms)))
    print(*table(rows), sep="\n")


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="Name of the key.")], config: ConfigOption = None) -> None:
    """Refuse a key from now on."""

    async def work(store: Store) -> bool:
        if not await store.keys.revoke(name, unix_ms()):
            raise ConfigError(f"there is no valid key {name}: see `markbook keys list`")
        return all(key.revoked_ms is not None for key in await store.keys.all())

    last = _with_store(load_config(config), work)
    print(f"{name} is refused within {KEY_CACHE_TTL_S:g} s.", file=sys.stderr)
    if last:
        print("No valid key is left: every request is refused until one is added.", file=sys.stderr)


def _with_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    store = Store(config.store.database_url, lease_ms=round(config.store.claim_lease_s * 1000))
    store.migrate()

    async def run() -> T:
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _as_json(key: ApiKey, nusd: int, tokens: int) -> dict[str, object]:
    return {
        "name": key.name,
        "runs": key.runs,
        "spent_usd": nusd / 1e9,
        "limit_usd": key.budget.usd,
        "spent_tokens": tokens,
        "limit_tokens": key.budget.tokens,
        "created": _date(key.created_ms),
        "revoked": _date(key.revoked_ms) or None,
    }


def _date(at_ms: int | None) -> str:
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(" ", timespec="minutes")[:16]
