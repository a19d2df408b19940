"""The commands that need no running service: migrate, and how each of them ends."""

from __future__ import annotations

import json

import pytest
import typer
from sqlalchemy import text

from markbook.cli import main
from markbook.contract import ExtractedFrom
from markbook.scoring.cli import migrate
from markbook.scoring.cli.client import dollars, parse_since
from markbook.scoring.cli.score import EXTRACTED
from markbook.scoring.store.engine import migrate as bring_up
from markbook.scoring.store.engine import open_engine, transaction, versions


@pytest.fixture
def run(monkeypatch, capsys, empty_database_url):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", empty_database_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def newest(database_url: str) -> str:
    engine = open_engine(database_url)
    known = versions(engine)[1]
    engine.dispose()
    assert known is not None
    return known


def test_migrate_says_from_where_to_where_and_check_changes_nothing(run, empty_database_url):
    head = newest(empty_database_url)
    checks = [run("migrate", "--check"), run("migrate", "--check")]
    first, second, after = run("migrate"), run("migrate"), run("migrate", "--check")
    assert [status for status, _, _ in checks] == [1, 1]
    assert checks[0][1].rstrip().endswith(f"no schema, behind schema {head}")
    assert (first[0], first[1].rstrip().endswith(f": no schema -> schema {head}")) == (0, True)
    assert (second[0], second[1].rstrip().endswith(f": schema {head}, up to date")) == (0, True)
    assert (after[0], after[1].rstrip().endswith(f": schema {head}, up to date")) == (0, True)


def test_migrate_as_json(run, empty_database_url):
    head = newest(empty_database_url)
    check = ("migrate", "--check", "--json")
    behind, migrated, after = run(*check), run("migrate", "--json"), run(*check)
    versions_of = {"database": where(empty_database_url), "newest": head}
    assert (behind[0], json.loads(behind[1])) == (1, versions_of | {"before": None, "after": None})
    assert (migrated[0], json.loads(migrated[1])) == (
        0,
        versions_of | {"before": None, "after": head},
    )
    assert (after[0], json.loads(after[1])) == (0, versions_of | {"before": head, "after": head})


def test_a_database_a_step_behind_is_told_as_such(run, empty_database_url):
    engine = open_engine(empty_database_url)
    assert bring_up(engine, "0001") == (None, "0001")
    engine.dispose()
    head = newest(empty_database_url)
    assert run("migrate", "--check")[:2] == (
        1,
        f"{where(empty_database_url)}: schema 0001, behind schema {head}\n",
    )
    assert run("migrate")[:2] == (0, f"{where(empty_database_url)}: schema 0001 -> schema {head}\n")


def where(database_url: str) -> str:
    engine = open_engine(database_url)
    shown = migrate.redact_url(engine.url)
    engine.dispose()
    return shown


@pytest.mark.parametrize(
    "arguments", [["migrate"], ["migrate", "--check"], ["keys", "list"], ["serve", "--port", "0"]]
)
def test_a_database_of_a_newer_version_is_left_alone_and_one_line_says_why(
    run, empty_database_url, arguments
):
    run("migrate")
    engine = open_engine(empty_database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    status, _, said = run(*arguments)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert "has a schema (9999) of a newer Markbook" in said
    with transaction(engine) as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        )
    engine.dispose()


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0.0, "$0.0000"),
        (None, "price unknown"),
        (0.000123, "$0.00012"),
        (0.00999, "$0.01"),
        (0.01, "$0.0100"),
        (1234.5, "$1,234.5000"),
    ],
)
def test_dollars_keep_what_counts(usd, shown):
    assert dollars(usd) == shown


def test_since_takes_times_and_spans():
    assert parse_since("2026-11-22").isoformat() == "2026-11-22T00:00:00+00:00"
    assert parse_since("2026-11-22T18:00+02:00").isoformat() == "2026-11-22T18:00:00+02:00"
    assert (parse_since("48h") - parse_since("2d")).total_seconds() == pytest.approx(0, abs=5)
    with pytest.raises(typer.BadParameter, match="'yesterday' is not a time"):
        parse_since("yesterday")
    for before_all_dates in ("9999999d", "99999999999d"):
        with pytest.raises(typer.BadParameter, match=f"'{before_all_dates}' is not a time"):
            parse_since(before_all_dates)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats"], "the scoring service at http://127.0.0.1:1 did not answer"),
        (["score", "FILE.py", "--prompt", "x"], "is it running? `markbook serve` starts one"),
        (
            ["score", "FILE.py", "--prompt", ""],
            "--prompt '': String should have at least 1 character",
        ),
        (
            ["score", "FILE.py", "--prompt", "x", "--run", "a b"],
            "--run 'a b': String should match pattern",
        ),
        (["score", "FILE.py"], "give either --prompt or --prompt-file"),
        (
            ["score", "FILE.py", "--prompt", "x", "--prompt-file", "FILE"],
            "give either --prompt or --prompt-file",
        ),
        (
            ["estimate", "TASKS", "--steps", "1", "--epochs", "1"],
            "--steps and --epochs exclude each other",
        ),
        (["score", "missing.py", "--prompt", "x"], "cannot read missing.py: No such file"),
        (
            ["score", "FILE.py", "--prompt-file", "missing.md"],
            "cannot read missing.md: No such file",
        ),
        (["score", "FILE", "--prompt", "x"], "does not show the language: set --language"),
        (["score", "-", "--prompt", "x"], "does not show the language: set --language"),
        (["score", "BINARY.py", "--prompt", "x"], "BINARY.py is not UTF-8 text"),
        (["estimate", "missing.jsonl"], "cannot read missing.jsonl: No such file"),
        (["estimate", "FILE.py"], "FILE.py:1: the line: Invalid JSON"),
        (["estimate", "EMPTY"], "EMPTY holds no tasks"),
        (["estimate", "TASKS", "--stats", "FILE.py"], "FILE.py is not what stats --json prints"),
    ],
)
def test_every_error_is_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKBOOK_RLAIF__SCORING_URL", "http://127.0.0.1:1")
    for name, content in {
        "FILE.py": b"x = 1\n",
        "FILE": b"x",
        "EMPTY": b"\n",
        "BINARY.py": b"\xff",
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "TASKS").write_text('{"prompt": "x", "language": "python"}\n')
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert message in said.err


def test_score_has_words_for_every_text_that_the_code_is_taken_from():
    assert EXTRACTED.keys() == {*ExtractedFrom}
