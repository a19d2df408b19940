"""Statements that are made once do what SQLAlchemy's own would, for one row, for few, and for
more than few.
"""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import bindparam, delete, select
from sqlalchemy.exc import IntegrityError as WrappedError

from markbook.scoring.store import tables
from markbook.scoring.store.engine import migrate, open_engine, transaction
from markbook.scoring.store.statements import MAX_CACHED_ROWS, insert_into, insert_new, run
from tests.unit.scoring.book import statements

ACCOUNT = tables.accounts.c


@pytest.fixture
def connection(database_url):
    engine = open_engine(database_url)
    migrate(engine)
    with transaction(engine) as opened:
        yield opened
    engine.dispose()


def accounts(count: int, nusd: int = 7) -> list[dict[str, object]]:
    return [
        {"scope": f"run {number:03}", "nusd": nusd, "tokens": number} for number in range(count)
    ]


@pytest.mark.parametrize(
    "count", [1, 2, MAX_CACHED_ROWS, MAX_CACHED_ROWS + 1, 20 * MAX_CACHED_ROWS]
)
def test_rows_go_in_and_come_out_in_one_statement_however_many(connection, count):
    insert_new(connection, tables.accounts, accounts(count))
    added = insert_into(connection.dialect.name, tables.accounts)
    added = added.on_conflict_do_update(
        index_elements=[ACCOUNT.scope],
        set_={"nusd": ACCOUNT.nusd + added.excluded.nusd},
        where=ACCOUNT.tokens != bindparam("but"),
    ).returning(ACCOUNT.scope, ACCOUNT.nusd)
    with statements() as sent:
        done = run(connection, added, [{**row, "but": 0} for row in accounts(count + 1, nusd=3)])
    # the first has tokens 0, the last is new
    expected = {f"run {number:03}": 10 for number in range(1, count)} | {f"run {count:03}": 3}
    assert dict(done.rows) == expected
    assert done.count == count or count >= MAX_CACHED_ROWS  # of many, SQLAlchemy does not say
    assert len(sent) == 1
    query = select(ACCOUNT.scope).where(ACCOUNT.scope.in_(bindparam("scopes", expanding=True)))
    wanted = [f"run {number:03}" for number in range(count)]
    assert {scope for (scope,) in run(connection, query, [{"scopes": wanted}]).rows} == set(wanted)
    gone = delete(tables.accounts).where(ACCOUNT.scope.in_(bindparam("scopes", expanding=True)))
    assert run(connection, gone, [{"scopes": wanted}]).count == count
    assert run(connection, gone, [{"scopes": wanted}]).count == 0


def test_lists_of_several_lengths_do_not_take_each_others_statement(connection):
    insert_new(connection, tables.accounts, accounts(4))
    query = select(ACCOUNT.tokens).where(ACCOUNT.scope.in_(bindparam("scopes", expanding=True)))
    for names in (
        ["run 001"],
        ["run 001", "run 003"],
        ("run 002",),
        ["run 000", "run 001", "run 002"],
    ):
        found = run(connection, query, [{"scopes": names}]).rows
        assert sorted(found) == [(int(name[-1]),) for name in names]


def test_what_the_database_refuses_is_raised(connection):
    insert_new(connection, tables.accounts, accounts(1))
    with pytest.raises((WrappedError, sqlite3.IntegrityError)), connection.begin_nested():
        run(connection, tables.accounts.insert(), accounts(1))
