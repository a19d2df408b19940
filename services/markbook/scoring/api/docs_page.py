"""`/docs`: the API's description in Swagger UI, whose files come out of a package: nothing is
loaded from elsewhere.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

from markbook.scoring.api.routers import create_router

HEADERS = {
    # no script but our own and Swagger UI's, which asks this service alone; it styles what it draws
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action "
    "'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Markbook: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<noscript>The schema: <a href="openapi.json">openapi.json</a></noscript>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>
</html>
"""
_START = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, '
    "validatorUrl: null});\n"
)


@cache
def docs_router() -> APIRouter:
    """Not part of the description that it shows.

    Paths are relative, so that it may lie behind one.
    """
    router = create_router(include_in_schema=False)
    folder = Path(str(distribution("swagger-ui-py").locate_file("swagger_ui/static")))

    @router.get("/docs")
    async def page() -> Response:
        return HTMLResponse(_PAGE, headers=HEADERS)

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers=HEADERS)

    @router.get("/docs/swagger-ui.css")
    async def style() -> Response:
        return FileResponse(folder / "swagger-ui.css", media_type="text/css", headers=HEADERS)

    @router.get("/docs/swagger-ui-bundle.js")
    async def script() -> Response:
        return FileResponse(
            folder / "swagger-ui-bundle.js", media_type="text/javascript", headers=HEADERS
        )

    return router
