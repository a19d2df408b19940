"""The page's routes: the page itself, signing in and out where there are API keys, and its style
sheet.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Annotated, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from markbook.contract import RunName
from markbook.scoring.api.auth import SESSION_COOKIE, SESSION_S, Authenticator, check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.cross_site import check_site
from markbook.scoring.api.dependencies import get_state
from markbook.scoring.api.request_body import read_body
from markbook.scoring.api.routers import create_router
from markbook.scoring.dashboard import marks_table
from markbook.scoring.dashboard.compare_context import build_comparison
from markbook.scoring.dashboard.context import build_context
from markbook.scoring.dashboard.downloads import add_downloads
from markbook.scoring.dashboard.query import PageQuery
from markbook.scoring.dashboard.rendering import (
    HEADERS,
    REFRESH_S,
    STYLE,
    redirect,
    render,
    render_error,
)
from markbook.scoring.dashboard.time_range import Period
from markbook.scoring.errors import BadRequestError, ServiceError, UnauthorizedError

_MAX_FORM_BYTES = 4096


@cache
def create_dashboard_router() -> APIRouter:
    """The dashboard's routes but for signing in, not part of the OpenAPI schema.

    One per process, however many applications it has: FastAPI takes long, and it holds no state.
    """
    router = create_router(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/")
    async def page(
        request: Request,
        since: Period = Period.AUTO,
        run: RunName | None = None,
        q: Annotated[str, Query(max_length=200)] = "",
        before: Annotated[str | None, Query(pattern=marks_table.CURSOR_PATTERN)] = None,
        mark: Annotated[str | None, Query(pattern=marks_table.ROW_PATTERN)] = None,
        refresh: Literal["off"] | None = None,
        vs: RunName | None = None,
    ) -> Response:
        if mark is not None:  # in links of before a mark had an address of its own
            return redirect(f"samples/{mark}")
        try:
            if vs is not None:
                return await _compare(request, run, vs)
            return await _show(request, PageQuery(since, run, q.strip(), before, refresh))
        except ServiceError as error:
            return render_error(error)

    @router.get("/page.css")
    async def style(v: str = "") -> Response:
        """`v`: the stylesheet's version, so that browsers can cache it for good."""
        return Response(
            STYLE,
            media_type="text/css",
            headers={**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"},
        )

    add_downloads(router, HEADERS)
    return router


async def _show(request: Request, query: PageQuery) -> Response:
    key = get_api_key(request)
    if query.run is not None:
        check_run(key, query.run)
    view = await build_context(get_state(request), key, query)
    reload_s = REFRESH_S if query.is_live else None
    return await asyncio.to_thread(
        render, "page.jinja", reload_s=reload_s, view=view, base_url=str(request.base_url)
    )


async def _compare(request: Request, run: str | None, vs: str) -> Response:
    if run is None:
        raise BadRequestError("vs is compared with run: name both", field="run")
    key = get_api_key(request)
    for name in (run, vs):
        check_run(key, name)
    view = await build_comparison(get_state(request), key, (run, vs))
    return await asyncio.to_thread(render, "compare.jinja", view=view)


def create_login_router(authenticator: Authenticator) -> APIRouter:
    """Browsers cannot send an API key with a page's URL, so they sign in and send a session
    cookie.
    """
    router = create_router(include_in_schema=False, default_response_class=HTMLResponse)

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

    return router
