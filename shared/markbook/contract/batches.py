"""`GET /batches/ID`: samples that were handed over as a batch, and their marks once it has
ended.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from markbook.contract.scoring import RequestUsage, Result
from markbook.contract.wire import RunName, WireModel


class BatchState(StrEnum):
    """How far a batch is."""

    QUEUED = "queued"
    """Stored; the teacher has not been asked, or is to be asked again for a part of it."""
    IN_PROGRESS = "in_progress"
    """On its way to the teacher, or there."""
    ENDED = "ended"
    """Every sample has a result."""


class Batch(WireModel):
    """A batch. `results` and `usage` are null until it has ended."""

    id: str = Field(description="Names the batch: `GET /batches/ID`.")
    run: RunName = Field(description="The run that its samples are counted for.")
    state: BatchState = Field(description="`queued`, `in_progress` or `ended`.")
    samples: int = Field(ge=0, description="Samples in it.")
    created_at: datetime = Field(description="When it was stored.")
    ended_at: datetime | None = Field(default=None, description="When its last result was stored.")
    results: list[Result] | None = Field(
        default=None,
        description="One result per sample, in the order of the request; null until it has ended.",
    )
    usage: RequestUsage | None = Field(
        default=None, description="What it cost; null until it has ended."
    )
