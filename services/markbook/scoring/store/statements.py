"""Runs statements that are compiled once, past most of SQLAlchemy: its overhead exceeds SQLite's
own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Delete, Dialect, Insert, Select, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

MAX_CACHED_ROWS = 8
"""Rows, or items of a list parameter, up to which the statement compiled for their number is
cached.
"""

Row = Mapping[str, Any]
Statement = Insert | ReturningInsert[Any] | Delete | Select[Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The rows a statement returned, and how many rows it affected."""

    rows: Sequence[Any]
    count: int


def run(connection: Connection, statement: Statement, rows: Sequence[Row]) -> Done:
    """As `connection.execute`, for a statement that is a constant, with values of plain types.

    An INSERT takes rows of the same columns; further values of a row are parameters of the rest of
    the statement, and the same in all rows. Other statements take one row: their parameters, some
    of which may be lists. Raises the driver's errors, which `autocommit` and `transaction`
    translate.
    """
    sizes = tuple(
        (name, len(value)) for name, value in rows[0].items() if isinstance(value, list | tuple)
    )
    if max(len(rows), *(size for _, size in sizes), 1) > MAX_CACHED_ROWS:
        return _done(connection.execute(statement, list(rows)))
    made = _compile(statement, connection.dialect, frozenset(rows[0]), len(rows), sizes)
    values = {**made.constants, **rows[0]}
    for number, row in enumerate(rows):
        values.update({f"{name}__{number}": row[name] for name in made.columns})
    for name, _ in sizes:
        values.update({f"{name}_{number}": value for number, value in enumerate(values[name], 1)})
    return execute_raw(
        connection,
        made.text,
        values if made.order is None else [values[name] for name in made.order],
    )


def execute_raw(connection: Connection, text: str, values: Row | Sequence[Any]) -> Done:
    """On SQLite without SQLAlchemy's result objects; on Postgres through it, since it detects
    lost connections.
    """
    if connection.dialect.name == "sqlite":
        cursor = connection.connection.cursor()
        cursor.execute(text, values)
        rows = cursor.fetchall()
        return Done(rows, cursor.rowcount)
    return _done(
        connection.exec_driver_sql(
            text, dict(values) if isinstance(values, Mapping) else tuple(values)
        )
    )


def _done(result: CursorResult[Any]) -> Done:
    count = result.rowcount  # psycopg loses it with the last row
    return Done(result.all() if result.returns_rows else (), count)


def insert_into(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with ON CONFLICT, which SQLAlchemy has per dialect."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows that do not exist yet, in one statement: the first write wins."""
    if rows:
        run(connection, new_rows(connection.dialect.name, table), rows)


@cache
def new_rows(dialect: str, table: Table) -> ReturningInsert[Any]:
    insert = insert_into(dialect, table).on_conflict_do_nothing()
    return insert.returning(
        *table.primary_key
    )  # without it, several rows would be a statement each


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A compiled statement: `order` of its positional parameters (None: named), and the columns
    of every row.
    """

    text: str
    order: Sequence[str] | None
    constants: Row
    columns: Sequence[str]


@cache
def _compile(
    statement: Statement,
    dialect: Dialect,
    names: frozenset[str],
    rows: int,
    sizes: Sequence[tuple[str, int]],
) -> _Compiled:
    columns: list[str] = []
    given: dict[str, object] = {
        **dict.fromkeys(names),
        **{name: [None] * size for name, size in sizes},
    }
    whole: Any = statement
    if isinstance(statement, Insert):
        types = {
            column.name: column.type for column in statement.table.columns if column.name in names
        }
        columns = [*types]
        values = []
        for row in range(rows):  # a parameter per row and column, as `column__row`
            parameters = {name: bindparam(f"{name}__{row}", type_=types[name]) for name in columns}
            values.append(parameters)
            given |= {parameter.key: None for parameter in parameters.values()}
        whole = statement.values(values)
    made = whole.compile(dialect=dialect).construct_expanded_state(given)
    constants = {name: value for name, value in made.parameters.items() if value is not None}
    return _Compiled(made.statement, made.positiontup, constants, columns)
