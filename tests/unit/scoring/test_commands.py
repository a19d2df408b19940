"""The commands that need no running service: help, migrate, and how each of them ends."""

from __future__ import annotations

import argparse

import pytest
from sqlalchemy import text

from markbook.scoring import __main__ as program
from markbook.scoring.__main__ import PURPOSES, main
from markbook.scoring.cli import INTERRUPTED, migrate
from markbook.scoring.cli.client import dollars, since
from markbook.scoring.store.engine import migrate as bring_up
from markbook.scoring.store.engine import open_engine, transaction, versions

COMMANDS = [command for commands in PURPOSES.values() for command in commands]


def helped(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command_under_its_purpose(capsys):
    told = helped(capsys)
    for purpose, commands in PURPOSES.items():
        block = told[told.index(f"{purpose}:") :]
        for command, what in commands.items():
            assert f"  {command:10}{what}" in block.split("\n\n")[0]
    assert max(map(len, told.splitlines())) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(capsys, command):
    told = helped(capsys, command)
    assert told.startswith(f"usage: python -m markbook.scoring {command}")
    assert f"examples:\n  python -m markbook.scoring {command}" in told


def test_a_command_that_is_none_is_named_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["stat"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "there is no command stat" in said
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), INTERRUPTED), (BrokenPipeError(), 1)])
def test_ctrl_c_and_a_closed_pipe_end_without_a_traceback(monkeypatch, capfd, error, status):
    class Command:
        @staticmethod
        def register(subparsers: argparse._SubParsersAction) -> None:
            def run(_: argparse.Namespace) -> int:
                raise error

            subparsers.add_parser("stats").set_defaults(run=run)

    monkeypatch.setattr(program, "import_module", lambda name: Command)
    monkeypatch.setattr(program.os, "dup2", lambda *_: None)  # the tests' own output stays
    assert main(["stats"]) == status
    assert capfd.readouterr().err == ""


@pytest.fixture
def run(monkeypatch, capsys, database_url):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", database_url)

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


def test_migrate_says_from_where_to_where_and_check_changes_nothing(run, database_url):
    head = newest(database_url)
    checks = [run("migrate", "--check"), run("migrate", "--check")]
    first, second, after = run("migrate"), run("migrate"), run("migrate", "--check")
    assert [status for status, _, _ in checks] == [1, 1]
    assert checks[0][1].rstrip().endswith(f"no schema, behind schema {head}")
    assert (first[0], first[1].rstrip().endswith(f": no schema -> schema {head}")) == (0, True)
    assert (second[0], second[1].rstrip().endswith(f": schema {head} already")) == (0, True)
    assert (after[0], after[1].rstrip().endswith(f": schema {head}, the newest")) == (0, True)


def test_a_database_a_step_behind_is_told_as_such(run, database_url):
    engine = open_engine(database_url)
    assert bring_up(engine, "0001") == (None, "0001")
    engine.dispose()
    head = newest(database_url)
    assert run("migrate", "--check")[:2] == (1, f"{where(database_url)}: schema 0001, behind schema {head}\n")
    assert run("migrate")[:2] == (0, f"{where(database_url)}: schema 0001 -> schema {head}\n")


def where(database_url: str) -> str:
    engine = open_engine(database_url)
    shown = migrate.redact_url(engine.url)
    engine.dispose()
    return shown


@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "--check"], ["keys", "list"], ["--port", "0"]])
def test_a_database_of_a_newer_version_is_left_alone_and_one_line_says_why(run, database_url, arguments):
    run("migrate")
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    status, _, said = run(*arguments)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert "has a schema (9999) of a newer Markbook" in said
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
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
    assert since("2026-11-22").isoformat() == "2026-11-22T00:00:00+00:00"
    assert since("2026-11-22T18:00+02:00").isoformat() == "2026-11-22T18:00:00+02:00"
    assert (since("48h") - since("2d")).total_seconds() == pytest.approx(0, abs=5)
    with pytest.raises(argparse.ArgumentTypeError, match="'yesterday' is no time"):
        since("yesterday")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats"], "the scoring service at http://127.0.0.1:1 did not answer"),
        (["score", "FILE.py", "--prompt", "x"], "is it running? python -m markbook.scoring starts one"),
        (["score", "FILE.py", "--prompt", ""], "--prompt '': String should have at least 1 character"),
        (["score", "FILE.py", "--prompt", "x", "--run", "a b"], "--run 'a b': String should match pattern"),
        (["score", "missing.py", "--prompt", "x"], "cannot read missing.py: No such file"),
        (["score", "FILE.py", "--prompt-file", "missing.md"], "cannot read missing.md: No such file"),
        (["score", "FILE", "--prompt", "x"], "does not tell the language: say --language"),
        (["score", "-", "--prompt", "x"], "does not tell the language: say --language"),
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
    for name, content in {"FILE.py": b"x = 1\n", "FILE": b"x", "EMPTY": b"\n", "BINARY.py": b"\xff"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "TASKS").write_text('{"prompt": "x", "language": "python"}\n')
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert message in said.err
