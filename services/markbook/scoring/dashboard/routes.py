"""The page's routes: the page itself, signing in and out where there are API keys, and its style sheet."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated
from urllib.parse import parse_qs

import jinja2
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from markbook.contract import RunName
from markbook.scoring.api.auth import SESSION_COOKIE, SESSION_S, Authenticator, check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.cross_site import check_site
from markbook.scoring.api.dependencies import get_state
from markbook.scoring.api.request_body import read_body
from markbook.scoring.dashboard import marks_table, svg
from markbook.scoring.dashboard.cards import RUN_COLUMNS
from markbook.scoring.dashboard.context import build_context
from markbook.scoring.dashboard.query import PageQuery
from markbook.scoring.dashboard.time_range import Period
from markbook.scoring.errors import ServiceError, UnauthorizedError

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""No script at all may run, wherever it comes from: not even one that an error in here let through."""
REFRESH_S = 30
_MAX_FORM_BYTES = 4096

_STYLE = (files("markbook.scoring.dashboard") / "page.css").read_bytes()
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("markbook.scoring.dashboard"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals |= {
    "style": hashlib.sha256(_STYLE).hexdigest()[:12],
    "refresh_s": REFRESH_S,
    "chart_width": svg.WIDTH,
    "chart_height": svg.HEIGHT,
    "chart_left": svg.LEFT,
    "chart_right": svg.WIDTH - svg.RIGHT,
    "chart_top": svg.TOP,
    "chart_bottom": svg.HEIGHT - svg.BOTTOM,
    "periods": [*Period],
    "run_columns": RUN_COLUMNS,
    "most_rows": 12,
}


def create_dashboard_router(authenticator: Authenticator) -> APIRouter:
    """The dashboard's routes, not part of the OpenAPI schema."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/")
    async def page(
        request: Request,
        since: Period = Period.AUTO,
        run: RunName | None = None,
        q: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[str | None, Query(pattern=marks_table.CURSOR_PATTERN)] = None,
        mark: Annotated[str | None, Query(pattern=marks_table.ROW_PATTERN)] = None,
    ) -> Response:
        key = get_api_key(request)
        try:
            if run is not None:
                check_run(key, run)
            view = await build_context(get_state(request), key, PageQuery(since, run, q.strip(), before, mark))
        except ServiceError as error:
            return render("error.jinja", error.status, error.headers, error=error)
        return await asyncio.to_thread(render, "page.jinja", view=view, base_url=str(request.base_url))

    @router.get("/page.css")
    async def style(v: str = "") -> Response:
        """`v`: the stylesheet's version, so that browsers can cache it for good."""
        return Response(
            _STYLE, media_type="text/css", headers={**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        )

    _add_login(router, authenticator)
    return router


def _add_login(router: APIRouter, authenticator: Authenticator) -> None:
    """Browsers cannot send an API key with a page's URL, so they sign in and send a session cookie."""

    @router.get("/login")
    async def login() -> Response:
        try:
            await authenticator.authenticate(None)
        except UnauthorizedError:
            return render("login.jinja", error=None)
        return redirect(".")

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        try:
            check_site(request.headers)
            form = parse_qs((await read_body(request, _MAX_FORM_BYTES)).decode("latin-1"))
            key = await authenticator.authenticate(f"Bearer {''.join(form.get('key', []))}")
        except ServiceError as error:
            return render("login.jinja", error.status, error=error)
        answer = redirect(".")
        if key is not None:
            secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
            answer.set_cookie(
                SESSION_COOKIE,
                authenticator.issue_session(key),
                max_age=SESSION_S,
                secure=secure,
                httponly=True,
                samesite="strict",
            )
        return answer

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        check_site(request.headers)
        answer = redirect("login")
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return answer


def render(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(template).render(values), status, {**(headers or {}), **HEADERS})


def redirect(where: str) -> Response:
    """Redirect to a relative URL, so that the service can run below a path prefix."""
    return RedirectResponse(where, 303, HEADERS)
