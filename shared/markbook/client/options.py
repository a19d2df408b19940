"""The keyword arguments of both clients, as a type for those that pass them on."""

from __future__ import annotations

from typing import TypedDict

from markbook.client.retry import RetryPolicy
from markbook.config.settings import Service


class Options(TypedDict, total=False):
    """What both clients take, described at AsyncScoringClient."""

    timeout_s: float
    api_key: str | None
    retry_policy: RetryPolicy | None
    max_in_flight: int
    limits: Service | None
