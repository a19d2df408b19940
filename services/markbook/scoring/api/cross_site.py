"""Requests that a browser was tricked into: sent by another site, or to this service under a
name of the attacker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from markbook.scoring.errors import ForbiddenError, UnknownHostError


def check_site(headers: Headers) -> None:
    """Raises ForbiddenError for a cross-site request, which browsers mark by one of two headers."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none") or (
        site is None and origin is not None and _host_of(origin) != headers.get("host")
    ):
        raise ForbiddenError("this was sent from another site")


def check_host(headers: Headers, allowed: Sequence[str]) -> None:
    """Raises UnknownHostError for a name that anybody may have pointed at this address (DNS
    rebinding).

    An address and a name without a dot (localhost, a service's name in compose) cannot belong to
    others; other names have to be among `allowed`.
    """
    name = _name_of(headers.get("host", ""))
    if name is None or not (
        _is_address(name) or "." not in name or name in map(str.lower, allowed)
    ):
        raise UnknownHostError(
            "this service asks for no API key, so it answers to no name that it does not know: "
            f"add {name!r} to service.allowed_hosts, or make a key with: markbook keys add NAME"
        )


def _name_of(host: str) -> str | None:
    """The name of a Host header, without its port; None if it is not valid."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.removesuffix(".") if name else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host_of(origin: str) -> str | None:
    """None for what is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
