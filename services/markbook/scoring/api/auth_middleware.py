"""Stands before all routes: nothing is reached without a key that the door accepts, but for what is open to all."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from markbook.scoring.api.auth import SESSION_COOKIE, Authenticator
from markbook.scoring.api.cross_site import check_host, check_site
from markbook.scoring.api.error_handlers import render
from markbook.scoring.errors import MarkbookError, Unauthorized
from markbook.scoring.store import ApiKey

OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/openapi.json"}
    | {"/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"}
    | {"/login", "/logout", "/page.css"}
)
"""The probes of whoever runs the service, the description of its routes, and the way in for browsers, which cannot send
a key with the address of a page: nothing in these is out of the book. /stats has runs and money in it."""
PAGE = "/"
"""For a browser: it may show its pass here, and without one is sent to where it gets one."""


class AuthMiddleware:
    """ASGI middleware, so that a route that somebody adds is behind the door and need not ask for it."""

    def __init__(self, app: ASGIApp, door: Authenticator, allowed_hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._door = door
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                headers = Headers(scope=scope)
                if scope["method"] not in ("GET", "HEAD"):
                    check_site(headers)
                key = scope["api_key"] = await self._authenticate(scope)
                if key is None:  # with keys, a request that may do anything carries one, which no browser adds
                    check_host(headers, self._allowed_hosts)
            except MarkbookError as error:
                to_login = scope["path"] == PAGE and isinstance(error, Unauthorized)
                answer = RedirectResponse("login", 303) if to_login else render(error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> ApiKey | None:
        authorization = _authorization(scope)
        if scope["path"] == PAGE and authorization is None:
            return await self._door.verify_session(Request(scope).cookies.get(SESSION_COOKIE))
        return await self._door.authenticate(authorization)


def get_api_key(request: Request) -> ApiKey | None:
    """The key that the request came with; None where none is asked for."""
    key: ApiKey | None = request.scope["api_key"]
    return key


def _authorization(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value).decode("latin-1")
    return None
