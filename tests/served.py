"""The scoring service in a thread of this process, over real HTTP, with a teacher of the
caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from markbook.config.settings import Config
from markbook.scoring.app import create_app
from markbook.scoring.teachers.protocol import Teacher


@contextmanager
def served(config: Config, teacher: Teacher) -> Iterator[str]:
    """Yields its address."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(config, teacher), port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
