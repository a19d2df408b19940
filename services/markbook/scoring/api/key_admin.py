"""Making, changing, rotating and revoking API keys on behalf of an admin key.

Every change is logged, no secret is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from markbook.config.settings import Budget, TeacherConfig
from markbook.scoring.api.auth import Authenticator, hash_secret, new_secret
from markbook.scoring.errors import BadRequestError
from markbook.scoring.observability.logs import FIELDS
from markbook.scoring.store import KEY_NAME, RUN_PATTERN, ApiKey, ApiKeys

DAY_MS = 86_400_000
MAX_DAYS = 36_500
MAX_PER_MINUTE = 1_000_000_000

log = logging.getLogger("markbook.audit")


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


Optional = BeforeValidator(_blank_is_none)
PerMinute = Annotated[int | None, Field(ge=1, le=MAX_PER_MINUTE), Optional]


class KeySettings(BaseModel):
    """What a key may do, as a form or a command gives it. Blank fields are not set."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    runs: Annotated[str, Field(pattern=f"^(?:{RUN_PATTERN.pattern})$")] = "*"
    is_admin: bool = False
    usd: Annotated[float | None, Field(ge=0, le=1e9), Optional] = None
    tokens: Annotated[int | None, Field(ge=0, le=10**18), Optional] = None
    per: Annotated[Literal["day", "month"] | None, Optional] = None
    requests_per_minute: PerMinute = None
    samples_per_minute: PerMinute = None
    days: Annotated[float | None, Field(gt=0, le=MAX_DAYS), Optional] = None
    """Until it expires, from now on; None: as long as it did before, a new key for good."""
    never_expires: bool = False

    def apply(self, key: ApiKey, now_ms: int) -> ApiKey:
        """`key` with these settings."""
        expires_ms = key.expires_ms if self.days is None else now_ms + round(self.days * DAY_MS)
        return replace(
            key,
            runs=self.runs,
            budget=Budget(usd=self.usd, tokens=self.tokens, per=self.per),
            is_admin=self.is_admin,
            requests_per_minute=self.requests_per_minute,
            samples_per_minute=self.samples_per_minute,
            expires_ms=None if self.never_expires else expires_ms,
        )


def parse_settings(fields: dict[str, Any]) -> KeySettings:
    """Raises BadRequestError, which names the first field that is wrong."""
    try:
        settings = KeySettings.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"][:1]))
        raise BadRequestError(
            f"{name} is {str(fault['input'])[:80]}: {fault['msg']}", field=name
        ) from error
    if settings.is_admin and settings.runs != "*":
        detail = (
            f"runs is {settings.runs}: an admin key can make keys for all runs, so its own "
            "must be *"
        )
        raise BadRequestError(detail, field="runs")
    return settings


@dataclass(frozen=True, slots=True)
class KeyAdmin:
    """`by`: the admin key that asks. `teacher`: whose price is needed for limits in dollars."""

    keys: ApiKeys
    authenticator: Authenticator
    teacher: TeacherConfig
    by: ApiKey

    async def add(self, name: str, settings: KeySettings, now_ms: int) -> str:
        """Returns the secret of the new key, which is shown this once. Raises BadRequestError."""
        if not KEY_NAME.fullmatch(name):
            raise BadRequestError(
                f"name: up to 128 characters of {KEY_NAME.pattern.partition('{')[0]}", field="name"
            )
        self._check_price(settings)
        secret = new_secret()
        key = settings.apply(ApiKey(name, hash_secret(secret), "*", Budget(), now_ms), now_ms)
        if not await self.keys.add(key):
            raise BadRequestError(
                f"there is or was a key of the name {name}: choose another", field="name"
            )
        self._done("added", key)
        return secret

    async def change(self, name: str, settings: KeySettings, now_ms: int) -> None:
        """Raises BadRequestError."""
        self._check_price(settings)
        before = await self._valid(name)
        if name == self.by.name and not settings.is_admin:
            raise BadRequestError(
                "this is the key that you are signed in with: it stays an admin key"
            )
        key = settings.apply(before, now_ms)
        if not await self.keys.change(key):
            raise _no_valid_key(name)
        self._done("changed", key)

    async def rotate(self, name: str, issued_ms: int, now_ms: int) -> str:
        """Returns the new secret; the old one is refused from now on. Raises BadRequestError."""
        key, secret = await self._valid(name), new_secret()
        if not await self.keys.rotate(name, hash_secret(secret), now_ms, issued_ms):
            raise BadRequestError(
                f"the secret of {name} was replaced meanwhile: load the page again"
            )
        self._done("rotated", key)
        return secret

    async def revoke(self, name: str, now_ms: int) -> None:
        """Raises BadRequestError."""
        if name == self.by.name:
            raise BadRequestError(
                "this is the key that you are signed in with: sign in with another one to revoke it"
            )
        key = await self._valid(name)
        if not await self.keys.revoke(name, now_ms):
            raise _no_valid_key(name)
        self._done("revoked", key)

    async def _valid(self, name: str) -> ApiKey:
        for key in await self.keys.all():
            if key.name == name and key.revoked_ms is None:
                return key
        raise _no_valid_key(name)

    def _check_price(self, settings: KeySettings) -> None:
        if (
            settings.usd is not None
            and self.teacher.name != "static"
            and self.teacher.price() is None
        ):
            raise BadRequestError(
                f"usd: it needs the price of {self.teacher.model}: set it under teacher.prices",
                field="usd",
            )

    def _done(self, action: str, key: ApiKey) -> None:
        self.authenticator.forget_keys()
        fields = {
            "action": action,
            "key": key.name,
            "by": self.by.name,
            "runs": key.runs,
            "admin": key.is_admin,
        }
        log.info("API key %s", action, extra={FIELDS: fields})


def _no_valid_key(name: str) -> BadRequestError:
    return BadRequestError(f"there is no valid key {name[:128]}", field="name")
