"""Builds the template context of the page of API keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from markbook.scoring.api.dependencies import AppState
from markbook.scoring.dashboard import formatting
from markbook.scoring.errors import ServiceError
from markbook.scoring.store import OWNER, ApiKey
from markbook.scoring.store.settlement import key_scope

_DONE = {
    "change": "changed",
    "revoke": "revoked: it is refused from now on, by other replicas within 2 seconds",
}


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret to show once."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    """`is_own`: the page is signed in with it. `state`: "valid", "expired" or "revoked"."""

    key: ApiKey
    state: str
    is_own: bool
    spent: str
    rates: str
    created: str
    expires: str
    last_used: str
    revoked: str


@dataclass(frozen=True, slots=True)
class KeysView:
    """`refused`: the fields of a form that was refused, so that they need not be typed again."""

    key: ApiKey
    rows: list[KeyRow]
    gone: list[KeyRow]
    new: NewSecret | None = None
    done: str | None = None
    error: ServiceError | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


async def build_keys_view(
    state: AppState,
    key: ApiKey,
    *,
    new: NewSecret | None = None,
    done: Mapping[str, str] | None = None,
    error: ServiceError | None = None,
    refused: Mapping[str, str] | None = None,
) -> KeysView:
    """`done`: the form that was carried out. Raises StoreUnavailableError."""
    now_ms, money = state.clock_ms(), state.store.money
    spent = await money.spent(OWNER)
    keys = await state.store.keys.all()
    periods = {
        each.budget.per for each in keys if each.budget.per is not None and each.revoked_ms is None
    }
    by_period = {per: await money.spent_in(OWNER, per, now_ms) for per in sorted(periods)}
    rows = []
    for each in keys:
        amounts = spent if each.budget.per is None else by_period.get(each.budget.per, spent)
        rows.append(_build_row(each, amounts.get(key_scope(each.name), (0, 0)), now_ms, key.name))
    action = (done or {}).get("action", "")
    return KeysView(
        key=key,
        rows=[row for row in rows if row.state != "revoked"],
        gone=[row for row in rows if row.state == "revoked"],
        new=new,
        done=f"{(done or {}).get('name', '').strip()} is {_DONE[action]}."
        if action in _DONE
        else None,
        error=error,
        refused=refused or {},
    )


def _build_row(key: ApiKey, spent: tuple[int, int], now_ms: int, own: str) -> KeyRow:
    state = (
        "revoked"
        if key.revoked_ms is not None
        else "expired"
        if key.has_expired(now_ms)
        else "valid"
    )
    rates = []
    if key.requests_per_minute is not None:
        rates.append(f"{formatting.count(key.requests_per_minute)} requests")
    if key.samples_per_minute is not None:
        rates.append(f"{formatting.count(key.samples_per_minute)} samples")
    return KeyRow(
        key=key,
        state=state,
        is_own=key.name == own,
        spent=_spent(key, *spent),
        rates=f"{', '.join(rates)} per minute" if rates else "no limit",
        created=_day(key.created_ms),
        expires="never" if key.expires_ms is None else formatting.format_time(key.expires_ms),
        last_used="never" if key.last_used_ms is None else formatting.format_time(key.last_used_ms),
        revoked=_day(key.revoked_ms or 0),
    )


def _spent(key: ApiKey, nusd: int, tokens: int) -> str:
    usd, counted = (
        formatting.usd(nusd / 1e9),
        f"{formatting.compact(tokens)}{formatting.NBSP}tokens",
    )
    if key.budget.usd is not None:
        usd += f" of {formatting.usd(key.budget.usd)}"
    if key.budget.tokens is not None:
        counted = (
            f"{formatting.compact(tokens)} of "
            f"{formatting.compact(key.budget.tokens)}{formatting.NBSP}tokens"
        )
    return f"{usd}, {counted}" + (f" this {key.budget.per}" if key.budget.per else "")


def _day(at_ms: int) -> str:
    return formatting.format_time(at_ms)[:10]
