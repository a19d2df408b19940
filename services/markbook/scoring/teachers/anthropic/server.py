"""Which server answers: the provider's, or another that speaks its Messages API."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from markbook.config.loading import ConfigError

PROVIDER = "https://api.anthropic.com"

_BASE_URL = re.compile(r"https?://[^/\s]\S*(?<!/v1)(?<!/v1/)")
_PORTS = {"http": 80, "https": 443}


def check_base_url(url: str | None) -> None:
    """Raises ConfigError for one that cannot work."""
    if url is not None and not _BASE_URL.fullmatch(url):
        raise ConfigError(f"teacher.base_url is {url!r}, expected http(s)://HOST[:PORT], without /v1")


def check_key(name: str, key: str | None) -> str | None:
    """`key` without the end of the line that a file may have left on it, None where there is none.

    Raises ConfigError, which does not quote it, for one that no header can carry.
    """
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{name} holds control characters or letters beyond ASCII, as no key does: copy it again")
    return key or None


def other_server(url: str) -> str | None:
    """The address of a server that is not the provider's own, in one spelling; None for the provider's.

    The same model name may stand for anything there. Without user and query: they may hold a key.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    address = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    return None if address == PROVIDER else address


NO_KEY = (
    "teacher.name is anthropic, but ANTHROPIC_API_KEY is not set: export your key (any text, if teacher.base_url is a "
    "server that asks for none), or set teacher.name to static"
)
