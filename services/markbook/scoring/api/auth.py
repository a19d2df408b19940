"""Who may come in: API keys, the runs they may use, and the doors that stand open without one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence

from markbook.scoring.errors import Forbidden, Unauthorized
from markbook.scoring.store import ApiKey, ApiKeys, Viewer

PREFIX = "mb_"
"""Of every key, so that scanners for leaked secrets and people know one when they see it."""
SECRET_BYTES = 32

KEY_CACHE_TTL_S = 2.0
"""Seconds after which a key that was made or revoked is in force in every replica, at the latest."""

SESSION_COOKIE = "markbook_session"
"""The cookie of a browser that has signed in to the page."""
SESSION_S = 7 * 86_400

_HOW = (
    "send Authorization: Bearer mb_…, which Markbook's own commands and trainer do with MARKBOOK_API_KEY=mb_…; "
    "the service's owner makes a key with: python -m markbook.scoring keys add NAME"
)


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    """SHA-256. A slow hash protects what people choose; 256 random bits need none."""
    return hashlib.sha256(secret.encode()).digest()


class Authenticator:
    """Lets requests in. The book's keys are read again every KEY_CACHE_TTL_S seconds, not with every request."""

    def __init__(
        self, keys: ApiKeys, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._book = keys
        self._clock = clock
        self._wall = wall
        self._keys: Sequence[ApiKey] = ()
        self._stale_at = -1.0
        self._reading = asyncio.Lock()

    async def authenticate(self, authorization: str | None) -> ApiKey | None:
        """The key a request came with; None while the book has none. Raises Unauthorized, StoreUnavailable.

        The first key closes the door for good: revoking the last one must not open it to everybody.
        """
        keys = await self._fresh()
        if not keys:
            return None
        if authorization is None:
            raise Unauthorized(f"an API key is needed: {_HOW}")
        key = _find(keys, digest_of(_secret(authorization)))
        if key is None:
            raise Unauthorized(f"this is no API key of this service: {_HOW}")
        if key.revoked_ms is not None:
            raise Unauthorized(f"the API key {key.name} was revoked: {_HOW}")
        return key

    def issue_session(self, key: ApiKey) -> str:
        """What a browser keeps in the place of `key`: good for SESSION_S, as long as the key is, and for looking only.

        Every replica can check it, as it is signed with the key's hash, and nobody can read the key off it.
        """
        return _signed(key, round(self._wall()) + SESSION_S)

    async def verify_session(self, shown: str | None) -> ApiKey | None:
        """The key whose pass this is; None while the book has none. Raises Unauthorized, StoreUnavailable."""
        keys = await self._fresh()
        if not keys:
            return None
        until = re.match(r"[0-9]{1,12}(?=\.)", shown or "")
        if shown is None or until is None or self._wall() >= int(until[0]):
            raise Unauthorized("there is no pass, or it has ended: sign in again")
        owners = [key for key in keys if hmac.compare_digest(_signed(key, int(until[0])).encode(), shown.encode())]
        if not owners or owners[0].revoked_ms is not None:
            raise Unauthorized("this pass belongs to no key in force: sign in again")
        return owners[0]

    async def _fresh(self) -> Sequence[ApiKey]:
        if self._clock() >= self._stale_at:
            async with self._reading:
                if self._clock() >= self._stale_at:
                    asked_at = self._clock()
                    self._keys = await self._book.all()
                    self._stale_at = asked_at + KEY_CACHE_TTL_S
        return self._keys


def check_all_runs(key: ApiKey | None) -> None:
    """Raises Forbidden when `key` may use some runs only."""
    if key is not None and not Viewer(key).sees_all_runs:
        raise Forbidden(f"the API key {key.name} may use the runs {key.runs}, but this counts all of them")


def check_run(key: ApiKey | None, run: str) -> None:
    """Raises Forbidden when `key` may not use `run`."""
    if key is not None and not Viewer(key).may_use(run):
        raise Forbidden(f"the API key {key.name} may use the runs {key.runs}, not {run}", field="run")


def _signed(key: ApiKey, until_s: int) -> str:
    return f"{until_s}.{hmac.new(key.digest, f'page until {until_s}'.encode(), hashlib.sha256).hexdigest()}"


def _secret(authorization: str) -> str:
    """The secret of a bearer, or the password of Basic: what a client sends that can only be given an address.

    Empty where there is neither.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2].decode()
    except ValueError:
        return ""


def _find(keys: Sequence[ApiKey], digest: bytes) -> ApiKey | None:
    """All are compared, each in constant time, so that the time tells nothing about any."""
    found = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return found[0] if found else None
