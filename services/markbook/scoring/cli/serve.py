"""`markbook serve`: the scoring service as a process."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import sys
from ipaddress import ip_address
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI

from markbook.cli.options import ConfigOption, new_app
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.redaction import hide_secrets
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.api.http_protocol import BoundedProtocol
from markbook.scoring.app import create_app
from markbook.scoring.observability import logs
from markbook.scoring.observability.tracing import start_tracing

app = new_app(
    "Runs the scoring service until Ctrl-C or SIGTERM: POST /score, GET /stats, /metrics, "
    "/healthz, /readyz; /docs describes all routes.",
    "markbook serve",
    "markbook serve --config config.yaml --port 9000",
    "MARKBOOK_TEACHER=anthropic ANTHROPIC_API_KEY=... markbook serve",
)


@app.command()
def run_service(
    host: Annotated[
        str | None, typer.Option(metavar="H", help="Address to listen on (default: service.host).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", help="TCP port, 0 for a free one (default: service.port)."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    settings = load_config(config)
    status = serve(
        settings, host or settings.service.host, settings.service.port if port is None else port
    )
    if status:
        raise typer.Exit(status)


def serve(config: Config, host: str, port: int) -> int:
    """Listen until SIGTERM or Ctrl-C; then finish what is running, for at most
    service.shutdown_grace_s.
    """
    traces_to = start_tracing()
    app = create_app(config)
    listener = _listen(host, port)
    open_to_others = _is_open_to_others(app, listener)
    if open_to_others and not config.service.allow_unauthenticated:
        listener.close()
        raise ConfigError(
            f"{host} can be reached by others, and there are no API keys: create one with "
            "`markbook keys add NAME`, listen on 127.0.0.1, or set service.allow_unauthenticated: "
            "true"
        )
    logs.configure(config.service.log_format)
    log = logging.getLogger("markbook")
    if open_to_others:
        log.warning("no API keys configured: anyone who can reach %s can spend money", host)
    if traces_to is not None:
        log.info("traces: %s", hide_secrets(traces_to))
    url = f"http://[{host}]" if ":" in host else f"http://{host}"
    port = listener.getsockname()[1]
    server = _Server(config.service.shutdown_grace_s, app, f"{url}:{port}")
    for number in (signal.SIGINT, signal.SIGTERM):
        # the server raises the signal again once it has stopped in good order: that is no failure
        signal.signal(number, lambda *_: sys.exit(0))
    _collect_seldom()
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _collect_seldom() -> None:
    """What is loaded by now stays, so the collector need not look at it again: an eighth of a
    request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _Server(uvicorn.Server):
    def __init__(self, grace_s: float, app: FastAPI, url: str) -> None:
        super().__init__(
            # a second more than the calls: the requests that waited for them still get their answer
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=math.ceil(grace_s) + 1,
            )
        )
        self._grace_s = grace_s
        self._url = url
        self._pipeline = _state(app).pipeline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Log the address once it accepts connections: programs wait for this line."""
        await super().startup(sockets)
        if self.started:
            log = logging.getLogger("markbook")
            log.info("listening on %s (the page in a browser, POST /score for marks)", self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the teacher's calls first, so that the requests that wait for them get an answer
        and are not cut off.
        """
        await asyncio.gather(super().shutdown(sockets), self._pipeline.close(self._grace_s))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}; choose another with --port or "
            "MARKBOOK_PORT"
        ) from error
    return listener


def _is_open_to_others(app: FastAPI, listener: socket.socket) -> bool:
    """Whether others than this machine's users can reach a service that asks for no key."""
    if ip_address(listener.getsockname()[0]).is_loopback:
        return False
    return not asyncio.run(_state(app).store.keys.all())


def _state(app: FastAPI) -> AppState:
    state = app.state.markbook
    assert isinstance(state, AppState)
    return state
