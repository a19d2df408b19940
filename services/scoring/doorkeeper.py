"""Stands before all routes: nothing is reached without a key that the door accepts, but for what is open to all."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.scoring.auth import Door
from services.scoring.errors import MarkbookError
from services.scoring.rendering import render
from services.scoring.store import ApiKey

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
"""The probes of whoever runs the service, and the description of its routes: it holds nothing out of the book, and a
browser cannot send a key with the address of a page. /stats has runs and money in it, so it is not among them."""


class Doorkeeper:
    """ASGI middleware, so that a route that somebody adds is behind the door and need not ask for it."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                scope["api_key"] = await self._door.admit(_authorization(scope))
            except MarkbookError as error:
                await render(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def key_of(request: Request) -> ApiKey | None:
    """The key that the request came with; None where none is asked for."""
    key: ApiKey | None = request.scope["api_key"]
    return key


def _authorization(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value).decode("latin-1")
    return None
