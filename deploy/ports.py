"""Says which published ports of a compose file are taken: docker finds out only after it has built
the images.

    docker compose config --format json | python3 deploy/ports.py

Needs nothing but Python, as it runs before anything is installed.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from typing import Any


def published(compose: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Service, address and port of this machine, of every TCP port that is published under a
    fixed number.
    """
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            if port.get("protocol", "tcp") == "tcp" and str(port.get("published", "")).isdecimal():
                yield name, port.get("host_ip", "0.0.0.0"), int(port["published"])


def fault(address: str, port: int) -> str | None:
    """Why nothing can listen there."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            return error.strerror
    return None


def main() -> int:
    faults = [
        (*place, why)
        for place in published(json.load(sys.stdin))
        if (why := fault(*place[1:])) is not None
    ]
    for name, address, port, why in faults:
        print(
            f"{name}: {address} port {port}: {why}; choose another: MARKBOOK_PORT=8100 make up",
            file=sys.stderr,
        )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
