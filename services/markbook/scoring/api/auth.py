"""Authentication: API keys, the runs they may use, and the signed session cookie of the page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence

from itsdangerous import BadSignature, Signer

from markbook.scoring.errors import ForbiddenError, UnauthorizedError
from markbook.scoring.store import ApiKey, ApiKeys, Viewer

PREFIX = "mb_"
"""Of every API key, so that people and scanners for leaked secrets recognize one."""
SECRET_BYTES = 32

KEY_CACHE_TTL_S = 2.0
"""Seconds until every replica knows a new or revoked key, at the latest."""

SESSION_COOKIE = "markbook_session"
"""The cookie of a browser that is signed in to the page."""
SESSION_S = 7 * 86_400

_HOW = (
    "send Authorization: Bearer mb_…, which Markbook's own commands and trainer do with "
    "MARKBOOK_API_KEY=mb_…; the service's owner makes a key with: markbook keys add NAME"
)


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """SHA-256: slow hashes are for passwords that people choose, not for 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


class Authenticator:
    """Verifies API keys and sessions. Stored keys are cached for KEY_CACHE_TTL_S seconds."""

    def __init__(
        self,
        keys: ApiKeys,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._stored_keys = keys
        self._clock = clock
        self._wall = wall
        self._keys: Sequence[ApiKey] = ()
        self._stale_at = -1.0
        self._reading = asyncio.Lock()

    async def authenticate(self, authorization: str | None) -> ApiKey | None:
        """The API key of a request; None while no keys exist.

        Raises UnauthorizedError, StoreUnavailableError.

        Once a key exists, one is required for good: revoking the last one must not admit everybody.
        """
        keys = await self._fresh()
        if not keys:
            return None
        if authorization is None:
            raise UnauthorizedError(f"an API key is required: {_HOW}")
        key = _find(keys, hash_secret(_secret(authorization)))
        if key is None:
            raise UnauthorizedError(f"invalid API key: {_HOW}")
        if key.revoked_ms is not None:
            raise UnauthorizedError(f"the API key {key.name} was revoked: {_HOW}")
        if key.has_expired(self._wall() * 1000):
            raise UnauthorizedError(f"the API key {key.name} has expired: {_HOW}")
        self._note_used(key)
        return key

    def issue_session(self, key: ApiKey) -> str:
        """The value of the session cookie: for the pages only, valid for SESSION_S and as long as
        `key` is.

        It is signed with the key's hash, so that every replica can verify it and the key cannot be
        derived from it.
        """
        return _signer(key).sign(str(round(self._wall()) + SESSION_S)).decode()

    async def verify_session(self, cookie: str | None) -> ApiKey | None:
        """The key of a session cookie; None while no keys exist.

        Raises UnauthorizedError, StoreUnavailableError.
        """
        keys = await self._fresh()
        if not keys:
            return None
        if not cookie:
            raise UnauthorizedError("not signed in: sign in with an API key")
        for key in keys:
            try:
                until_s = int(_signer(key).unsign(cookie))
            except BadSignature:
                continue
            if (
                self._wall() >= until_s
                or key.revoked_ms is not None
                or key.has_expired(self._wall() * 1000)
            ):
                raise UnauthorizedError(
                    "the session or its API key has expired or was revoked: sign in again"
                )
            self._note_used(key)
            return key
        raise UnauthorizedError("the session cookie is invalid: sign in again")

    def forget_keys(self) -> None:
        """Read the keys again for the next request: this process has just changed them."""
        self._stale_at = -1.0

    def _note_used(self, key: ApiKey) -> None:
        self._stored_keys.note_used(key.name, round(self._wall() * 1000))

    async def _fresh(self) -> Sequence[ApiKey]:
        if self._clock() >= self._stale_at:
            async with self._reading:
                if self._clock() >= self._stale_at:
                    asked_at = self._clock()
                    self._keys = await self._stored_keys.all()
                    self._stale_at = asked_at + KEY_CACHE_TTL_S
        return self._keys


def check_all_runs(key: ApiKey | None) -> None:
    """Raises ForbiddenError when `key` may use some runs only."""
    if key is not None and not Viewer(key).sees_all_runs:
        raise ForbiddenError(
            f"the API key {key.name} may use the runs {key.runs} only, and this covers all runs"
        )


def check_admin(key: ApiKey | None) -> None:
    """Raises ForbiddenError unless `key` may manage keys; without keys always: the first one is
    made by command.
    """
    if key is None:
        raise ForbiddenError(
            "there are no API keys: make the first one with: markbook keys add NAME --admin"
        )
    if not key.is_admin:
        raise ForbiddenError(
            f"the API key {key.name} may not manage keys: sign in with one made with --admin"
        )


def check_run(key: ApiKey | None, run: str) -> None:
    """Raises ForbiddenError when `key` may not use `run`."""
    if key is not None and not Viewer(key).may_use(run):
        detail = f"the API key {key.name} may use the runs {key.runs}, not {run}: set another run "
        raise ForbiddenError(f"{detail}(rlaif.run of a trainer, --run of a command)", field="run")


def _signer(key: ApiKey) -> Signer:
    return Signer(
        key.digest, salt="markbook session", key_derivation="hmac", digest_method=hashlib.sha256
    )


def _secret(authorization: str) -> str:
    """The token of Bearer, or the password of Basic, for clients that can only be configured
    with a URL; else "".
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
    """Compares all keys, each in constant time, so that timing reveals nothing."""
    found = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return found[0] if found else None
