"""Checks the teacher's base URL and API key, and recognizes the provider's own server."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from markbook.config.loading import ConfigError

PROVIDER = "https://api.anthropic.com"

_BASE_URL = re.compile(r"https?://[^/\s]\S*(?<!/v1)(?<!/v1/)")
_PORTS = {"http": 80, "https": 443}


def check_base_url(url: str | None) -> None:
    """Raises ConfigError for a URL that cannot work."""
    if url is not None and not _BASE_URL.fullmatch(url):
        raise ConfigError(
            f"teacher.base_url is {url!r}, expected http(s)://HOST[:PORT], without /v1"
        )


def check_key(name: str, key: str | None) -> str | None:
    """`key` without surrounding white space, None if it is empty.

    Raises ConfigError, which does not quote the key, if an HTTP header cannot carry it.
    """
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"{name} contains control characters or non-ASCII letters, as no API key does: copy it "
            "again"
        )
    return key or None


def other_server(url: str) -> str | None:
    """The normalized address of a server that is not the provider's; None for the provider's.

    It is part of a mark's key, since another server may serve any model under a name. User and
    query are left out: they may contain a secret.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    address = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    return None if address == PROVIDER else address


NO_KEY = (
    "teacher.name is anthropic, but ANTHROPIC_API_KEY is not set: export your key (any text, if "
    "teacher.base_url is a server that asks for none), or set teacher.name to static"
)
