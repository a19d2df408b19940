"""Downloads of marks and preference pairs: streamed a page at a time, and only what the API key
may see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from markbook.contract import RunName
from markbook.scoring.api.auth import check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.dependencies import AppState, get_state
from markbook.scoring.api.routes import Since
from markbook.scoring.dashboard import formatting
from markbook.scoring.exports.export import ExportFormat, ExportOptions, MarkExport
from markbook.scoring.exports.pairs import MIN_MARGIN
from markbook.scoring.store import MarkFilter, Viewer
from markbook.scoring.store.export_import import BATCH

_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
_Share = Query(ge=0, le=1)


def add_downloads(router: APIRouter, headers: Mapping[str, str]) -> None:
    """`GET /export`. `headers`: of every response of the page."""

    @router.get("/export")
    async def download(
        request: Request,
        format: Literal["csv", "jsonl"] = "csv",
        run: RunName | None = None,
        since: Since = None,
        min_score: Annotated[float | None, _Share] = None,
        pairs: bool = False,
        min_margin: Annotated[float, _Share] = MIN_MARGIN,
    ) -> Response:
        state, key = get_state(request), get_api_key(request)
        if run is not None:
            check_run(key, run)
        selection = MarkFilter(run, formatting.utc_ms(since) if since else None)
        options = ExportOptions(ExportFormat(format), selection, min_score, pairs, min_margin)
        name = f"{'pairs' if pairs else 'marks'}.{format}"
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(
            _stream(state, Viewer(key), options),
            media_type=_TYPES[format],
            headers={**headers, **disposition},
        )


async def _stream(state: AppState, viewer: Viewer, options: ExportOptions) -> AsyncIterator[bytes]:
    """Raises StoreUnavailableError, which cuts the response off, so that a part is not taken for
    the whole.
    """
    records = state.store.records
    profiles = await asyncio.to_thread(records.profiles)
    # the header has the address of the teacher's server, which a key for some runs does not need
    export = MarkExport(profiles, state.pipeline.rubric, options, with_header=viewer.sees_all_runs)
    yield export.start()
    for profile in profiles:
        after: bytes | None = b""
        while after is not None:
            page, after = await records.visible_page(
                viewer, profile.id, after, BATCH, options.selection
            )
            yield await asyncio.to_thread(export.page, page)
    yield export.end()
