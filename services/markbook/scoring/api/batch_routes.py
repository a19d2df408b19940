"""`GET /batches/ID`: how far a batch is, and its results."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import Response

from markbook.contract import Batch, BatchState
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.dependencies import get_state
from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.routers import create_router
from markbook.scoring.errors import BatchNotFoundError
from markbook.scoring.store import Viewer

batch_router = create_router(prefix="/batches", tags=["scoring"])

QUEUED = Batch(
    id="5b0c1f0d9e6a4e7b8d2c3a4f5e6d7c8b",
    run="my-run",
    state=BatchState.QUEUED,
    samples=2,
    created_at=datetime(2026, 11, 22, 18, 5, tzinfo=UTC),
)


@batch_router.get("/{batch_id}", response_model=Batch, responses=error_responses(404, 503))
async def get_batch(
    request: Request,
    batch_id: Annotated[str, Path(description="The `id` of a batch.", pattern="^[0-9a-f]{32}$")],
) -> Response:
    """A batch: its state, and once it has ended one result per sample.

    With an API key, of a run that it may use.
    """
    found = await get_state(request).batches.get(Viewer(get_api_key(request)), batch_id)
    if found is None:
        raise BatchNotFoundError(
            f"there is no batch {batch_id}, or the API key may not use its run"
        )
    return Response(found.model_dump_json(), media_type="application/json")


def accepted() -> dict[str, Any]:
    """The answer to a batch, for the description of `/score`."""
    content = {"application/json": {"example": QUEUED.model_dump(mode="json")}}
    headers = {
        "Location": {"description": "Where its results will be.", "schema": {"type": "string"}}
    }
    return {
        "model": Batch,
        "description": "A batch was stored.",
        "content": content,
        "headers": headers,
    }
