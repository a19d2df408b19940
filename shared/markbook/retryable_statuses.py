"""Which HTTP statuses are worth another try: one table for teacher, service and generation
servers.
"""

from __future__ import annotations

_PASSING = {
    408: "the server waited too long for the request, as gateways do",
    409: "a conflict with what the server is doing now",
    425: "too early: a gateway did not dare to hand on what it could have been sent twice",
    429: "a rate limit",
}
_FINAL = {
    501: "the server cannot do this at all",
    505: "the server does not speak this version of HTTP",
}
"""Of the 5xx.

All others may pass: overload, outage, a deployment, whatever number a gateway gives it (520 to
530).
"""


def is_worth_another_try(status: int) -> bool:
    """Whether the same request may be answered later on."""
    return status in _PASSING or (status >= 500 and status not in _FINAL)
