"""`keys`: make, show and revoke API keys. The book holds their hashes only, so a key is shown once."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pydantic import ValidationError

from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Budget, Config
from markbook.scoring.api.auth import KEY_CACHE_TTL_S, hash_secret, new_secret
from markbook.scoring.app import unix_ms
from markbook.scoring.cli import Subparsers, add_command, add_config, table
from markbook.scoring.store import OWNER, ApiKey, Store
from markbook.scoring.store.budgets import key_scope

_NAME = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
_PATTERN = re.compile(r"[A-Za-z0-9._:/@+*?\[\]!-]{1,128}")


def register(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "keys",
        "Makes, shows and revokes API keys. The book holds their hashes only, so a key is shown once. Once there is a "
        "key, every request needs one.",
        "keys add ann --runs 'team-a/*' --usd 5",
        "keys add prometheus --tokens 0    # may read /metrics, and pay for nothing",
        "keys list",
        "keys revoke ann",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key and print it, this once")
    add.add_argument("name", metavar="NAME", type=_matching(_NAME), help="whose it is; a name is used once")
    add.add_argument(
        "--runs",
        metavar="PATTERN",
        type=_matching(_PATTERN),
        default="*",
        help="runs it may use: 'team-a/*' (default: all)",
    )
    add.add_argument("--usd", metavar="X", type=float, help="dollars it may spend in all (default: no limit)")
    add.add_argument("--tokens", metavar="N", type=int, help="tokens it may spend in all (default: no limit)")
    add.set_defaults(run=lambda arguments: _on_book(arguments, _add))
    show = actions.add_parser("list", help="show all keys and what they have spent")
    show.set_defaults(run=lambda arguments: _on_book(arguments, _list))
    revoke = actions.add_parser("revoke", help="let a key in no more")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=lambda arguments: _on_book(arguments, _revoke))
    for action in (add, show, revoke):
        add_config(action)


def _on_book(
    arguments: argparse.Namespace, action: Callable[[Store, Config, argparse.Namespace], Awaitable[None]]
) -> int:
    config = load_config(arguments.config)
    store = Store(config.store.database_url, lease_ms=round(config.store.claim_lease_s * 1000))
    store.migrate()

    async def work() -> None:
        try:
            await action(store, config, arguments)
        finally:
            await store.close()

    asyncio.run(work())
    return 0


async def _add(store: Store, config: Config, arguments: argparse.Namespace) -> None:
    if arguments.usd is not None and config.teacher.name != "static" and config.teacher.price() is None:
        raise ConfigError(f"--usd needs the price of {config.teacher.model}: set it under teacher.prices")
    try:
        budget = Budget(usd=arguments.usd, tokens=arguments.tokens)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"--{fault['loc'][0]} is {fault['input']}: {fault['msg']}") from error
    secret = new_secret()
    if not await store.keys.add(ApiKey(arguments.name, hash_secret(secret), arguments.runs, budget, unix_ms())):
        raise ConfigError(f"there is or was a key of the name {arguments.name}: choose another")
    print(secret)
    print(f"Keep it: it is shown this once. It applies within {KEY_CACHE_TTL_S:g} s.", file=sys.stderr)
    if len(await store.keys.all()) == 1:
        print("It is the first: from now on every request needs one (trainer: MARKBOOK_API_KEY).", file=sys.stderr)


async def _list(store: Store, _config: Config, _arguments: argparse.Namespace) -> None:
    keys = await store.keys.all()
    if not keys:
        print(f"{store.where} has no keys: whoever reaches the service may use it", file=sys.stderr)
    spent = await store.money.spent(OWNER)
    rows = [("NAME", "RUNS", "USD", "TOKENS", "CREATED", "REVOKED")]
    for key in keys:
        nusd, tokens = spent.get(key_scope(key.name), (0, 0))
        usd = f"{nusd / 1e9:.4f}" + ("" if key.budget.usd is None else f" of {key.budget.usd:g}")
        counted = str(tokens) + ("" if key.budget.tokens is None else f" of {key.budget.tokens}")
        rows.append((key.name, key.runs, usd, counted, _date(key.created_ms), _date(key.revoked_ms)))
    print(*table(rows), sep="\n")


async def _revoke(store: Store, _config: Config, arguments: argparse.Namespace) -> None:
    if not await store.keys.revoke(arguments.name, unix_ms()):
        raise ConfigError(f"there is no key {arguments.name} in force: see python -m markbook.scoring keys list")
    print(f"{arguments.name} is refused within {KEY_CACHE_TTL_S:g} s.", file=sys.stderr)
    if all(key.revoked_ms is not None for key in await store.keys.all()):
        print("No key is left in force: every request is refused until one is added.", file=sys.stderr)


def _matching(form: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not form.fullmatch(text):
            raise argparse.ArgumentTypeError(f"{text!r} has other characters than {form.pattern}")
        return text

    return read


def _date(at_ms: int | None) -> str:
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(" ", timespec="minutes")[:16]
