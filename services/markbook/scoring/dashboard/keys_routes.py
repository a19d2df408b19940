"""The page of API keys, for admin keys, which works without a script.

A new secret is shown in one response.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from markbook.scoring.api.auth import Authenticator, check_admin
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.dependencies import AppState, get_state
from markbook.scoring.api.key_admin import KeyAdmin, parse_settings
from markbook.scoring.api.request_body import read_body
from markbook.scoring.api.routers import create_router
from markbook.scoring.dashboard.keys_view import NewSecret, build_keys_view
from markbook.scoring.dashboard.rendering import render, render_error
from markbook.scoring.errors import BadRequestError, ServiceError
from markbook.scoring.store import ApiKey

_MAX_FORM_BYTES = 8192
_SETTINGS = ("runs", "usd", "tokens", "per", "requests_per_minute", "samples_per_minute", "days")
_SWITCHES = ("is_admin", "never_expires")
Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class _Keys:
    """Requests for the page, each by an admin key."""

    authenticator: Authenticator

    async def show(self, request: Request) -> Response:
        try:
            view = await build_keys_view(get_state(request), _admin(request))
        except ServiceError as error:
            return render_error(error)
        return await asyncio.to_thread(render, "keys.jinja", view=view)

    async def change(self, request: Request) -> Response:
        """Carry out one form; the page with its outcome.

        The middleware has refused forms of other sites.
        """
        state, fields = get_state(request), Fields()
        try:
            key = _admin(request)
            fields = await _read_form(request)
            new = await self._carry_out(state, key, fields)
            view = await build_keys_view(state, key, new=new, done=fields)
        except BadRequestError as error:
            view = await build_keys_view(state, key, error=error, refused=fields)
            return await asyncio.to_thread(render, "keys.jinja", error.status, view=view)
        except ServiceError as error:
            return render_error(error)
        return await asyncio.to_thread(render, "keys.jinja", view=view)

    async def _carry_out(self, state: AppState, key: ApiKey, fields: Fields) -> NewSecret | None:
        admin = KeyAdmin(state.store.keys, self.authenticator, state.config.teacher, key)
        name, now_ms = fields.get("name", "").strip(), state.clock_ms()
        match fields.get("action"):
            case "add":
                return NewSecret(
                    name, await admin.add(name, parse_settings(_settings(fields)), now_ms)
                )
            case "change":
                await admin.change(name, parse_settings(_settings(fields)), now_ms)
            case "rotate":
                return NewSecret(
                    name, await admin.rotate(name, _whole_number(fields.get("issued", "")), now_ms)
                )
            case "revoke":
                if "confirmed" not in fields:
                    raise BadRequestError(f"{name} was not revoked: tick the box beside the button")
                await admin.revoke(name, now_ms)
            case _:
                raise BadRequestError("action: add, change, rotate or revoke", field="action")
        return None


def create_keys_router(authenticator: Authenticator) -> APIRouter:
    """The routes of the page of keys, not part of the OpenAPI schema."""
    router = create_router(include_in_schema=False, default_response_class=HTMLResponse)
    keys = _Keys(authenticator)
    router.add_api_route("/keys", keys.show, methods=["GET"])
    router.add_api_route("/keys", keys.change, methods=["POST"])
    return router


def _admin(request: Request) -> ApiKey:
    """Raises ForbiddenError."""
    key = get_api_key(request)
    check_admin(key)
    assert key is not None
    return key


async def _read_form(request: Request) -> Fields:
    """Raises BadRequestError, PayloadTooLargeError."""
    body = await read_body(request, _MAX_FORM_BYTES)
    try:
        parsed = parse_qs(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=32, errors="strict"
        )
    except ValueError as error:
        raise BadRequestError("the form cannot be read") from error
    return {name: values[-1] for name, values in parsed.items()}


def _settings(fields: Fields) -> dict[str, object]:
    given: dict[str, object] = {name: fields[name] for name in _SETTINGS if name in fields}
    return given | {name: name in fields for name in _SWITCHES}


def _whole_number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise BadRequestError("issued: a whole number", field="issued")
    return int(text)
