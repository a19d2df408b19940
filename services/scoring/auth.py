"""Who may come in: API keys, the runs they may use, and the doors that stand open without one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from services.scoring.errors import Forbidden, Unauthorized
from services.scoring.store import ApiKey, ApiKeys

PREFIX = "mb_"
"""Of every key, so that scanners for leaked secrets and people know one when they see it."""
SECRET_BYTES = 32

FRESH_S = 2.0
"""Seconds after which a key that was made or revoked is in force in every replica, at the latest."""

_HOW = "send Authorization: Bearer mb_…; the service's owner makes a key with: python -m services.scoring keys add NAME"


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    """SHA-256. A slow hash protects what people choose; 256 random bits need none."""
    return hashlib.sha256(secret.encode()).digest()


def may_use(key: ApiKey | None, run: str) -> bool:
    return key is None or fnmatchcase(run, key.runs)


class Door:
    """Lets requests in. The book's keys are read again every FRESH_S seconds, not with every request."""

    def __init__(self, keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._book = keys
        self._clock = clock
        self._keys: Sequence[ApiKey] = ()
        self._stale_at = -1.0
        self._reading = asyncio.Lock()

    async def admit(self, authorization: str | None) -> ApiKey | None:
        """The key a request came with; None while the book has none. Raises Unauthorized, StoreUnavailable.

        The first key closes the door for good: revoking the last one must not open it to everybody.
        """
        keys = await self._fresh()
        if not keys:
            return None
        if authorization is None:
            raise Unauthorized(f"an API key is needed: {_HOW}")
        scheme, _, secret = authorization.partition(" ")
        key = _find(keys, digest_of(secret.strip()))
        if scheme.lower() != "bearer" or key is None:
            raise Unauthorized(f"this is no API key of this service: {_HOW}")
        if key.revoked_ms is not None:
            raise Unauthorized(f"the API key {key.name} was revoked: {_HOW}")
        return key

    async def _fresh(self) -> Sequence[ApiKey]:
        if self._clock() >= self._stale_at:
            async with self._reading:
                if self._clock() >= self._stale_at:
                    asked_at = self._clock()
                    self._keys = await self._book.all()
                    self._stale_at = asked_at + FRESH_S
        return self._keys


def check_run(key: ApiKey | None, run: str) -> None:
    """Raises Forbidden when `key` may not use `run`."""
    if key is not None and not may_use(key, run):
        raise Forbidden(f"the API key {key.name} may use the runs {key.runs}, not {run}", field="run")


def _find(keys: Sequence[ApiKey], digest: bytes) -> ApiKey | None:
    """All are compared, each in constant time, so that the time tells nothing about any."""
    found = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return found[0] if found else None
