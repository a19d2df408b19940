"""Opening the database, SQLite (WAL) or Postgres, and bringing its schema up to date under a
lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    OperationalError,
)

from markbook.config.loading import ConfigError
from markbook.redaction import hide_secrets
from markbook.scoring.errors import StoreUnavailableError

POOL_SIZE = 8
BUSY_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5
_READING = "markbook_reading"
_READ_ONLY = "25006"
_MIGRATION_LOCK = 0x4D61726B  # any constant: replicas that start together take turns at it


def open_engine(database_url: str) -> Engine:
    """An engine for a `sqlite:///FILE` or `postgresql://` URL; ConfigError for others.

    Connects to nothing yet.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            f"store.database_url is not a SQLAlchemy URL: {hide_secrets(str(error))}"
        ) from error
    if url.host and "@" in url.host:
        raise ConfigError(
            "store.database_url: an @ in user or password is written %40 (likewise : / ? #)"
        )
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            hide_parameters=True,  # an error must not quote a sample in the log
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
        event.listen(engine, "handle_error", _leave_read_only)
        return engine
    if url.drivername == "sqlite":
        if url.host or url.username or url.password:
            raise ConfigError(
                "store.database_url: SQLite has no host and no user; it is sqlite:///FILE, three "
                "slashes"
            )
        if not url.database or url.database == ":memory:":
            raise ConfigError("store.database_url must name a file: sqlite:///data/markbook.db")
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"store.database_url: cannot make the folder of {url.database}: {error}"
            ) from error
        # two more connections, for `read_connection` and for `transaction` to reuse
        engine = create_engine(url, hide_parameters=True, pool_size=POOL_SIZE + 2, max_overflow=0)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    raise ConfigError(
        f"store.database_url names {url.drivername}; use sqlite:///FILE or postgresql://…"
    )


def _leave_read_only(context: ExceptionContext) -> None:
    """A read-only server, as during a failover, counts as disconnected: a new connection may
    reach the new primary.
    """
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")  # paid marks survive a power cut


def _write_ahead(connection: Any) -> None:
    """Switch to WAL; retried, since it ignores the busy timeout where another process does the
    same.
    """
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get(_READING):
        # a deferred transaction that writes later fails at once instead of waiting for the lock
        raw = connection.connection
        try:
            raw.cursor().execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            # else a transaction left open by a failed commit would block all later ones
            raw.rollback()
            raise


def redact_url(url: URL) -> str:
    """The URL without the password, which may be among its options too."""
    return url.set(query={}).render_as_string(hide_password=True)


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection for single statements without a transaction around them."""
    options: dict[str, Any] = (
        {_READING: True} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
    )
    with _reachable(engine), engine.connect().execution_options(**options) as connection:
        yield connection


def read_connection(engine: Engine) -> Connection:
    """A SQLite connection for single statements that do not wait for locks.

    The caller closes it.
    """
    with _reachable(engine):
        connection = engine.connect().execution_options(**{_READING: True})
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        return connection


def connect(engine: Engine) -> Connection:
    """A connection for `transaction` to reuse. The caller closes it."""
    with _reachable(engine):
        return engine.connect()


@contextmanager
def transaction(engine: Engine, reused: Connection | None = None) -> Iterator[Connection]:
    """A connection in a transaction that is committed at the end: `reused`, or a new one."""
    with (
        _reachable(engine),
        nullcontext(reused) if reused else engine.connect() as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def _reachable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise _unavailable(engine, error.orig) from error
    except (
        sqlite3.OperationalError,
        sqlite3.InterfaceError,
    ) as error:  # raised past SQLAlchemy by statements.py
        raise _unavailable(engine, error) from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise _unavailable(engine, error.orig) from error


def _unavailable(engine: Engine, error: BaseException | None) -> StoreUnavailableError:
    cause = hide_secrets(" ".join(str(error).split()))
    return StoreUnavailableError(f"the database {redact_url(engine.url)} cannot be used: {cause}")


def migrate(engine: Engine, version: str = "head") -> tuple[str | None, str | None]:
    """Migrate the schema to the newest version. Safe to call from several replicas at once.

    Returns the versions before and after; None: no schema yet.
    """
    with (
        _usable(engine),
        transaction(engine) as connection,
    ):  # on SQLite, BEGIN IMMEDIATE is the lock
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        before = _version(engine, connection)
        if version == "head" and before == _newest():
            return before, before
        config = _migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        return before, _version(engine, connection)


def versions(engine: Engine) -> tuple[str | None, str | None]:
    """The schema's current version (None: no schema yet) and the newest."""
    with _usable(engine), autocommit(engine) as connection:
        return _version(engine, connection), _newest()


def _version(engine: Engine, connection: Connection) -> str | None:
    version = MigrationContext.configure(connection).get_current_revision()
    if version is not None and version not in {
        script.revision for script in _scripts().walk_revisions()
    }:
        raise ConfigError(
            f"the database {redact_url(engine.url)} has a schema ({version}) of a newer Markbook: "
            "run that version, or restore a backup from before the upgrade"
        )
    return version


def _newest() -> str | None:
    return _scripts().get_current_head()


@cache
def _scripts() -> ScriptDirectory:
    """The migrations, read once per process."""
    return ScriptDirectory.from_config(_migrations())


def _migrations() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


@contextmanager
def _usable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise _unavailable(engine, error.orig) from error
    except sqlite3.DatabaseError as error:
        raise _unavailable(engine, error) from error
