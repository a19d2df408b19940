"""The section `alerts`: which events the service reports by itself, and the webhook that it
posts them to.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from markbook.config.settings.section import Positive, PositiveInt, Section, Share


def _check_http(url: SecretStr | None) -> SecretStr | None:
    if url is not None and not _is_http(url.get_secret_value()):
        raise ValueError("a URL that starts with https:// or http://")
    return url


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the URL
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


WebhookUrl = Annotated[SecretStr, AfterValidator(_check_http)]
"""Anyone who knows it can post to the channel, so it is neither printed nor written down."""
Percent = Annotated[int, Field(ge=1, le=99)]


class Alerts(Section):
    """Events are logged and counted at /metrics whether or not there is a webhook."""

    webhook_url: WebhookUrl | None = Field(
        None,
        description="Posts alerts there, as JSON with `text` (Slack and others); a secret. null: "
        "no webhook.",
    )
    budget_percent: list[Percent] = Field(
        [80, 90],
        description="Percent of a budget at which to alert, calls in progress included; 100 always "
        "does.",
    )
    unscored_share: Share | None = Field(
        0.1, description="Share of unscored samples above which to alert; null: off."
    )
    window_minutes: Positive = Field(
        10.0, description="Minutes over which the share of unscored samples is taken."
    )
    min_samples: PositiveInt = Field(50, description="Samples below which a share causes no alert.")
    repeat_hours: Positive = Field(
        1.0,
        description="Hours until an alert that is not about a budget can be repeated, while its "
        "cause lasts.",
    )
