"""Where the service is and with which key: arguments first, then the environment, then the
default address.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from functools import cache
from typing import Any

import httpx

from markbook.client.errors import ClientError
from markbook.redaction import hide_secrets

URL_VARIABLE = "MARKBOOK_URL"
API_KEY_VARIABLE = "MARKBOOK_API_KEY"
PORT_VARIABLE = "MARKBOOK_PORT"
DEFAULT_URL = "http://127.0.0.1:8000"
"""Where a service listens that was started without further settings.

The default of `rlaif.scoring_url`, too.
"""
MAX_PORT = 65535


def resolve_url(base_url: str | None) -> httpx.URL:
    """`base_url`, else `$MARKBOOK_URL`, else DEFAULT_URL on `$MARKBOOK_PORT`.

    An empty variable counts as unset.

    Raises ClientError for what is not the address of an HTTP server, and names the variable where
    it came from there.
    """
    text = base_url if base_url is not None else os.environ.get(URL_VARIABLE) or _default_url()
    source = f"{URL_VARIABLE}: " if base_url is None else ""
    text = text.rstrip("/")
    problem = f"{source}{hide_secrets(text)} is not a valid URL of a service"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ClientError(f"{problem} ({error}): it looks like http://HOST:8000") from error
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > MAX_PORT:
        raise ClientError(f"{problem}: it looks like http://HOST:8000")
    return url


def _default_url() -> str:
    """The port variable moves a service that is started here, so it moves its clients as well. In
    Kubernetes it may be set to an address (`tcp://…`) by another service of that name, which is
    ignored.
    """
    port = os.environ.get(PORT_VARIABLE, "")
    return (
        str(httpx.URL(DEFAULT_URL).copy_with(port=int(port)))
        if re.fullmatch(r"[1-9]\d{0,4}", port)
        else DEFAULT_URL
    )


def resolve_authorization(api_key: str | None) -> dict[str, str]:
    """The header with `api_key`, else with `$MARKBOOK_API_KEY`. An empty key sends no header.

    Raises ClientError for a key that no header can carry.
    """
    if api_key is not None:
        return bearer(api_key, "the API key")
    return bearer(os.environ.get(API_KEY_VARIABLE), API_KEY_VARIABLE)


def bearer(key: str | None, name: str) -> dict[str, str]:
    """The header that carries `key`, without the end of the line that a file may have left on it.

    Raises ClientError for what no header can carry: sent all the same, it would be quoted in an
    error.
    """
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise ClientError(
            f"{name} contains control characters or non-ASCII letters, as no API key does: copy it "
            "again"
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def transport_options(host: str) -> dict[str, Any]:
    """How httpx reaches `host`: `trust_env`, and `verify`, shared by the clients of this process.

    Loading the certificates takes many times as long as the rest of a client, and holds up the
    event loop: an adapter that opens a client per sample would send them that much apart.
    """
    # a proxy is for the world, not for a service on this machine
    trust_env = not is_loopback(host)
    named = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return {
        "trust_env": trust_env,
        "verify": _load_certificates(named if trust_env else (None, None)),
    }


@cache
def _load_certificates(named: tuple[str | None, str | None]) -> ssl.SSLContext:
    """`named`: what httpx reads from the environment, which may change between two clients."""
    return httpx.create_ssl_context(trust_env=any(named))
