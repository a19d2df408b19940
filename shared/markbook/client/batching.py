"""Large requests in parts that the service takes, and what the parts cost together."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from markbook.config.settings import Service
from markbook.contract import RequestUsage, Sample, ScoreRequest

_ID_LENGTH = 32


def split(request: ScoreRequest, limits: Service) -> Iterator[ScoreRequest]:
    """The request itself where it is within the limits, else parts that are, in order, each with
    an id of its own.
    """
    # a part's id may be longer than the request's
    envelope = len(request.model_copy(update={"samples": []}).model_dump_json()) + _ID_LENGTH
    room = limits.max_body_bytes - envelope
    parts: list[list[Sample]] = [[]]
    left = room
    for sample in request.samples:
        size = len(sample.model_dump_json().encode()) + 1  # the comma
        if parts[-1] and (size > left or len(parts[-1]) == limits.max_samples_per_request):
            parts.append([])
            left = room
        parts[-1].append(sample)
        left -= size
    if len(parts) == 1:
        yield request
        return
    yield from (
        make_part(request, samples, f"part {number}") for number, samples in enumerate(parts)
    )


def make_part(request: ScoreRequest, samples: Sequence[Sample], what: str) -> ScoreRequest:
    """Some of a request's samples, under an id that is the same whenever this part of this
    request is sent.
    """
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{request.request_id} {what}").hex
    return request.model_copy(update={"samples": samples, "request_id": name})


def batch_path(batch: str) -> str:
    """The address of a batch, whatever is in its name."""
    return f"/batches/{quote(batch, safe='')}"


def add_usage(usages: Sequence[RequestUsage]) -> RequestUsage:
    total = RequestUsage().model_dump()
    for usage in usages:
        for name, value in usage.model_dump().items():
            total[name] = None if value is None or total[name] is None else total[name] + value
    return RequestUsage(**total)
