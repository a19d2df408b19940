"""`python -m services.scoring`: the scoring service as a process."""

from __future__ import annotations

import argparse
import asyncio
import logging.config
import signal
import socket
import sys

import uvicorn

from services.scoring.app import STOP_SECONDS, create_app
from services.scoring.errors import StoreUnavailable
from shared.config import ConfigError, load_config
from shared.settings import Config

_LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "markbook": {"handlers": ["stderr"], "level": "INFO"},
        "uvicorn": {"handlers": ["stderr"], "level": "INFO"},
    },
}


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        config = load_config(arguments.config)
        host = arguments.host or config.service.host
        port = config.service.port if arguments.port is None else arguments.port
        return serve(config, host, port)
    except (ConfigError, StoreUnavailable) as error:
        print(error, file=sys.stderr)
        return 2


def serve(config: Config, host: str, port: int) -> int:
    """Listen until SIGTERM or Ctrl-C; then finish what is running, for at most STOP_SECONDS."""
    app = create_app(config)
    listener = _listen(host, port)
    logging.config.dictConfig(_LOG)
    shown = f"[{host}]" if ":" in host else host
    logging.getLogger("markbook").info("listening on http://%s:%d", shown, listener.getsockname()[1])
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=STOP_SECONDS + 1))
    for number in (signal.SIGINT, signal.SIGTERM):
        # the server raises the signal again once it has stopped in good order: that is no failure
        signal.signal(number, lambda *_: sys.exit(0))
    server.run(sockets=[listener])
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the teacher's calls first, so that the requests that wait for them get an answer and are not cut off."""
        pipeline = self.config.app.state.markbook.pipeline  # type: ignore[union-attr]
        await asyncio.gather(super().shutdown(sockets), pipeline.close(STOP_SECONDS))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error}; choose another with --port") from error
    return listener


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.scoring",
        description="Marks code samples over HTTP: POST /score, GET /stats, /healthz, /readyz, /docs.",
        epilog="MARKBOOK_TEACHER, MARKBOOK_TEACHER_MODEL, MARKBOOK_DATABASE_URL and MARKBOOK_CONFIG override the file.",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration (default: config.yaml here, if there is one)")
    parser.add_argument("--host", metavar="H", help="address to listen on (default: service.host)")
    parser.add_argument("--port", metavar="N", type=int, help="TCP port, 0 for a free one (default: service.port)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
