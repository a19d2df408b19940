"""The commands that ask a running service, as a person at a shell would use them.

Real processes, real HTTP.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from markbook.cli import main
from tests.processes import ROOT, ServiceProcess, clean_environment

TASK = "Write add(a, b) that returns the sum."
GOOD = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    config = tmp_path_factory.mktemp("commands") / "config.yaml"
    config.write_text(
        "budgets: {total: {usd: 20}, per_run: {tokens: 5000}}\nservice: {log_format: json}\n"
    )
    with ServiceProcess(
        f"sqlite:///{config.with_name('book.db')}", "--config", str(config)
    ) as started:
        yield started


@pytest.fixture
def ask(
    service: ServiceProcess,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "add.py").write_text(GOOD)
    (tmp_path / "task.md").write_text(TASK)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--url", service.url])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_file_is_marked_from_the_shell_and_paid_for_once(ask):
    status, told, _ = ask("score", "add.py", "--prompt", TASK, "--run", "first")
    again = ask("score", "add.py", "--prompt-file", "task.md", "--run", "first")
    assert (status, again[0]) == (0, 0)
    for line in (
        "mark      0.",
        ", from the teacher",
        "correctness",
        "code quality",
        "no judge",
        "key       STUDENT:",
    ):
        assert line in told
    assert "paid      $0.0000: 0 tokens sent" in told
    assert ", from the cache" in again[1]


def test_broken_code_is_a_mark_with_a_reason(ask, tmp_path):
    (tmp_path / "bad.py").write_text("def add(first, :")
    status, told, _ = ask("score", "bad.py", "--prompt", TASK)
    assert status == 0
    assert ", from the heuristic tier" in told
    assert "reason    unclosed_bracket\n          A bracket is never closed.\n" in told


def test_as_json_it_is_the_service_s_answer(ask):
    status, told, _ = ask("score", "add.py", "--prompt", TASK, "--json")
    [result] = json.loads(told)["results"]
    assert (status, result["status"]) == (0, "scored")


def test_standard_input_is_a_file_of_the_language_that_is_named(service):
    command = [
        sys.executable,
        "-m",
        "markbook.scoring",
        "score",
        "-",
        "--language",
        "py",
        "--prompt",
        TASK,
    ]
    done = subprocess.run(
        [*command, "--url", service.url],
        cwd=ROOT,
        env=clean_environment(),
        input=GOOD,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ":python" in done.stdout


def test_what_could_not_be_marked_is_told_and_is_no_success(ask, tmp_path, sqlite_url, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        "teacher: {name: anthropic, base_url: 'http://127.0.0.1:1'}\nbudgets: {total: {tokens: "
        "0}}\n"
    )
    with ServiceProcess(sqlite_url, "--config", str(config), ANTHROPIC_API_KEY="x") as poor:
        status = main(["score", "add.py", "--prompt", TASK, "--url", poor.url])
    told = capsys.readouterr().out
    assert status == 1
    assert (
        "unscored  budget_exhausted: the budget of total is exhausted (all 0 tokens spent)" in told
    )
    assert "mark " not in told


def test_stats_are_a_table_with_units_and_budgets(ask):
    ask("score", "add.py", "--prompt", TASK, "--run", "tabled")
    status, told, _ = ask("stats", "--run", "tabled")
    head, row, paid_head, paid = [
        line.split() for line in told.splitlines() if line.startswith(("RUN", "tabled"))
    ]
    assert status == 0
    assert head == [
        "RUN",
        "SAMPLES",
        "HEURISTIC",
        "TESTS",
        "CACHE",
        "COALESCED",
        "TEACHER",
        "UNSCORED",
        "MEAN",
    ]
    assert paid_head == ["RUN", "CALLS", "TOKENS", "IN", "TOKENS", "OUT", "TOKENS", "SAVED", "COST"]
    assert (row[1], 0 <= float(row[-1]) <= 1) == ("1", True)
    assert paid[-1] == "$0.0000"
    assert max(map(len, told.splitlines())) <= 80
    assert "teacher  static: " in told
    assert " MiB" in told
    budgets = {
        line.split("  ")[0]: line.split()[-5:]
        for line in told.splitlines()
        if "total" in line or "run tab" in line
    }
    assert budgets["total"][-3:] == ["$0.0000", "$20.0000", "0"]
    assert budgets["run tabled"][-2:] == ["0", "5,000"]
    everything = ask("stats")[1]
    assert any(line.startswith("all ") for line in everything.splitlines())


def test_stats_since_and_as_json(ask):
    ask("score", "add.py", "--prompt", TASK, "--run", "dated")
    now = json.loads(ask("stats", "--run", "dated", "--since", "1h", "--json")[1])
    never = json.loads(ask("stats", "--run", "dated", "--since", "2999-01-01", "--json")[1])
    assert now["runs"]["dated"]["samples"] == 1
    assert never["runs"]["dated"]["samples"] == 0
    assert never["since"].startswith("2999-01-01T00:00")


def test_a_run_that_there_is_not_is_said_and_the_one_that_was_meant(ask):
    ask("score", "add.py", "--prompt", TASK, "--run", "typed")
    for options in ([], ["--json"], ["--since", "1h"]):
        assert ask("stats", "--run", "tpyed", *options) == (
            2,
            "",
            "there is no run tpyed; did you mean typed?\n",
        )
    assert (
        ask("stats", "--run", "typed", "--since", "2999-01-01")[0] == 0
    )  # it is one, though it did nothing then


def test_before_anything_is_asked_for_there_is_no_run(tmp_path, capsys):
    with ServiceProcess(f"sqlite:///{tmp_path / 'empty.db'}") as empty:
        assert main(["stats", "--run", "any", "--url", empty.url]) == 2
    assert capsys.readouterr().err == "there is no run any: no run has sent a request yet\n"


def test_a_log_of_json_lines_holds_nothing_else(service, ask):
    ask("score", "add.py", "--prompt", TASK, "--run", "logged")
    lines = [json.loads(line) for line in service.log]
    assert [line for line in lines if line.get("run") == "logged" and line["route"] == "/score"]
    assert any("listening on" in line["message"] for line in lines)
    assert not [line for line in service.log if "return a + b" in line]
