"""Posts one alert to a webhook.

Its URL is a secret: no log line and no exception of this module contains it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import httpx

from markbook.errors import MarkbookError
from markbook.scoring.store import Delivery
from markbook.terminal import printable

TIMEOUT_S = 10.0
"""Seconds for a whole delivery, however slowly the other side responds."""


class DeliveryError(MarkbookError):
    """The webhook did not take the alert.

    The message is a status or the name of an error, never the URL.
    """


class Webhook:
    """`url`: http or https. `transport` replaces the network in tests."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        logging.getLogger("httpx").setLevel(logging.WARNING)  # its line per request has the URL
        self._http = httpx.AsyncClient(
            transport=transport, timeout=TIMEOUT_S, follow_redirects=False
        )

    async def post(self, delivery: Delivery) -> None:
        """Raises DeliveryError unless the response is a 2xx. Its body is not read."""
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http.stream("POST", self._url, json=payload(delivery)) as response,
            ):
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise DeliveryError(type(error).__name__) from None  # its text has the URL
        if not 200 <= status < 300:
            raise DeliveryError(f"HTTP status {status}")

    async def close(self) -> None:
        await self._http.aclose()


_BRACKETS = str.maketrans("<>", "‹›")
"""Slack reads `<!channel>` as a mention, and the cause of an outage is text from elsewhere."""


def payload(delivery: Delivery) -> dict[str, object]:
    """`text` is what Slack, Mattermost and Rocket.Chat show; the rest is for programs."""
    at = datetime.fromtimestamp(delivery.at_ms / 1000, UTC)
    is_resolved = delivery.alert.is_resolved
    what = printable(delivery.alert.text).translate(_BRACKETS)
    return {
        "text": f"Markbook: {'resolved: ' if is_resolved else ''}{what}",
        "source": "markbook",
        "status": "resolved" if is_resolved else "firing",
        "kind": delivery.alert.kind,
        "event": delivery.alert.event,
        "at": at.isoformat(timespec="seconds"),
    }
