"""Renders the pages' templates, under headers that let no script run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files

import jinja2
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from markbook.scoring.dashboard import svg
from markbook.scoring.dashboard.agreement import COLUMNS as AGREEMENT_COLUMNS
from markbook.scoring.dashboard.cards import RUN_COLUMNS
from markbook.scoring.dashboard.time_range import Period
from markbook.scoring.errors import ServiceError

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action "
    "'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""No script at all may run, wherever it comes from: not even one that an error in here let
through.
"""
REFRESH_S = 30

STYLE = (files("markbook.scoring.dashboard") / "page.css").read_bytes()
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("markbook.scoring.dashboard"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals |= {
    "style": hashlib.sha256(STYLE).hexdigest()[:12],
    "refresh_s": REFRESH_S,
    "chart_width": svg.WIDTH,
    "chart_height": svg.HEIGHT,
    "chart_left": svg.LEFT,
    "chart_right": svg.WIDTH - svg.RIGHT,
    "chart_top": svg.TOP,
    "chart_bottom": svg.HEIGHT - svg.BOTTOM,
    "periods": [*Period],
    "run_columns": RUN_COLUMNS,
    "agreement_columns": AGREEMENT_COLUMNS,
    "most_rows": 12,
    "root": "",
}


def render(
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    reload_s: int | None = None,
    **values: object,
) -> HTMLResponse:
    """`reload_s`: seconds until the browser loads the page again, by a header: it needs no
    script.
    """
    reload = {} if reload_s is None else {"Refresh": str(reload_s)}
    text = _TEMPLATES.get_template(template).render(values)
    return HTMLResponse(text, status, {**(headers or {}), **HEADERS, **reload})


def render_error(error: ServiceError, root: str = "") -> HTMLResponse:
    """A page with the error's detail, loaded again while the database is away.

    `root`: as in `base.jinja`.
    """
    reload_s = REFRESH_S if error.status == 503 else None
    return render(
        "error.jinja", error.status, error.headers, reload_s=reload_s, error=error, root=root
    )


def redirect(where: str) -> Response:
    """Redirect to a relative URL, so that the service can run below a path prefix."""
    return RedirectResponse(where, 303, HEADERS)
