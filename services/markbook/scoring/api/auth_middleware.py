"""ASGI middleware in front of all routes: only OPEN_PATHS are served without a valid API key,
once keys exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from markbook.scoring.api.auth import SESSION_COOKIE, Authenticator
from markbook.scoring.api.cross_site import check_host, check_site
from markbook.scoring.api.error_handlers import render
from markbook.scoring.errors import ServiceError, UnauthorizedError
from markbook.scoring.store import ApiKey

OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/openapi.json"}
    | {"/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"}
    | {"/login", "/logout", "/page.css"}
)
"""Paths served without authentication: health probes, API docs, login.

None exposes stored data, as /stats would.
"""
PAGES = frozenset({"/", "/keys", "/samples"})
"""They, and what is below /samples/, redirect browsers without a session to the login."""
DOWNLOAD = "/export"
"""Accepts a session cookie, as the pages do."""


class AuthMiddleware:
    """A middleware and no dependency, so that every route that is added is protected."""

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, allowed_hosts: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                headers = Headers(scope=scope)
                if scope["method"] not in ("GET", "HEAD"):
                    check_site(headers)
                key = scope["api_key"] = await self._authenticate(scope)
                if (
                    key is None
                ):  # with keys, every request carries one, which a browser does not add by itself
                    check_host(headers, self._allowed_hosts)
            except ServiceError as error:
                to_login = is_page(scope["path"]) and isinstance(error, UnauthorizedError)
                login = (
                    "../" * (scope["path"].count("/") - 1) + "login"
                )  # relative: there may be a path prefix
                answer = RedirectResponse(login, 303) if to_login else render(error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> ApiKey | None:
        authorization = _authorization(scope)
        if (is_page(scope["path"]) or scope["path"] == DOWNLOAD) and authorization is None:
            return await self._authenticator.verify_session(
                Request(scope).cookies.get(SESSION_COOKIE)
            )
        return await self._authenticator.authenticate(authorization)


def is_page(path: str) -> bool:
    """Whether this is a page for browsers, which send a session cookie instead of a key."""
    return path in PAGES or path.startswith("/samples/")


def get_api_key(request: Request) -> ApiKey | None:
    """The API key of the request; None where there are no keys."""
    key: ApiKey | None = request.scope["api_key"]
    return key


def _authorization(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value).decode("latin-1")
    return None
