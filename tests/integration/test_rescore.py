"""`markbook rescore` with teachers on the emulator: old and new scores, costs, budgets, and what
is left out.
"""

from __future__ import annotations

import io
import json
import sqlite3

import pytest

from markbook.cli import main
from tests.emulator.judges import CRITERIA

TASKS = 3
HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"


def code_of(task: int, *, is_right: bool) -> str:
    operator = "+" if is_right else "-"
    return f"def f{task}(value):\n    return value {operator} {task + 1}\n"


def samples():
    for task in range(TASKS):
        for is_right in (True, False):
            prompt = f"Write f{task}(value), which adds {task + 1} to value."
            code = code_of(task, is_right=is_right)
            yield {"prompt": prompt, "language": "python", "code": code, "passed": is_right}


def old_judge(codes):
    return [(90 if " + " in code else 10,) * CRITERIA for code in codes]


def new_judge(codes):
    """The first task as before, the second the other way round, the third all alike."""
    marks = {"f0": (90, 10), "f1": (10, 90), "f2": (50, 50)}
    found = []
    for code in codes:
        [(right, wrong)] = [pair for name, pair in marks.items() if f"def {name}(" in code]
        found.append((right if " + " in code else wrong,) * CRITERIA)
    return found


@pytest.fixture
def rescore(tmp_path, capsys, monkeypatch, emulator):
    """`rescore(*arguments)`: exit status, standard output and error, on a store with the old
    judge's marks.
    """
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, samples())))
    config = {
        "teacher": {"name": "anthropic", "base_url": emulator.url, "model": HAIKU},
        "store": {"database_url": f"sqlite:///{tmp_path / 'marks.db'}"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    emulator.settings.judge = old_judge
    assert (
        main(
            [
                "judge",
                "file.jsonl",
                "--teacher",
                "config.yaml",
                "--run",
                "old",
                "--yes",
                "--resamples",
                "100",
            ]
        )
        == 0
    )
    emulator.settings.judge = new_judge
    emulator.log.clear()
    capsys.readouterr()

    def run(*arguments):
        status = main(["rescore", "--resamples", "100", *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def execute(statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect("marks.db") as connection:
        return connection.execute(statement).fetchall()


def test_old_and_new_side_by_side(rescore, emulator):
    before = execute("SELECT * FROM marks ORDER BY key")
    status, out, err = rescore("--run", "old", "--model", SONNET, "--yes", "--json")
    report = json.loads(out)
    assert status == 0
    assert err.startswith(f"6 marks by {SONNET}, 0 of them stored; 3 calls, ")
    assert (report["marks"], report["compared"], report["tasks"], report["left_out"]) == (
        6,
        6,
        3,
        {},
    )
    assert (report["old"]["teacher"], report["new"]["teacher"]) == (HAIKU, SONNET)
    value = {name: figure["value"] for name, figure in report["figures"].items()}
    assert value["mean_old"] == value["mean_new"] == pytest.approx(0.5)
    assert value["correlation"] == pytest.approx(0.0, abs=1e-9)
    assert value["pairs_in_order"] == pytest.approx(0.5)
    assert value["advantage_reversed"] == pytest.approx(2 / 6)
    assert value["best_changed"] == pytest.approx(1 / 3)
    assert report["groups"] == {"groups": 3, "samples": 6, "flat_old": 0, "flat_new": 1}
    # the two of the reversed task part most
    assert {each["code"] for each in report["parted_most"][:2]} == {
        code_of(1, is_right=which) for which in (True, False)
    }
    assert report["parted_most"][0]["task"] == "Write f1(value), which adds 2 to value."
    assert report["paid_usd"] == pytest.approx(sum(entry.dollars() for entry in emulator.log))
    assert {entry.body["model"] for entry in emulator.log} == {SONNET}
    after = execute("SELECT * FROM marks ORDER BY key")
    assert set(before) < set(after)
    assert len(after) == 12


def test_what_is_stored_is_not_paid_for_again_and_the_text_has_eighty_columns(rescore, emulator):
    assert rescore("--model", SONNET, "--yes")[0] == 0
    calls = len(emulator.log)
    status, out, err = rescore("--model", SONNET)  # nothing to confirm
    assert (status, len(emulator.log)) == (0, calls)
    assert "6 of them stored" in err
    assert out.startswith("6 stored marks, 6 samples of 3 tasks compared\n")
    assert "advantages with the other sign    0.333 [" in out
    assert "groups of equal scores, old, new  0, 1\n" in out
    assert "0.900 -> 0.100  STUDENT:" in out
    assert "    def f1(value):\n" in out
    assert max(map(len, out.splitlines())) <= 80


def test_without_consent_nothing_is_called(rescore, emulator, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    status, out, err = rescore("--model", SONNET)
    assert (status, out, len(emulator.log)) == (2, "", 0)
    assert (
        err.splitlines()[-1] == "these calls cost money: add --yes to make them without being asked"
    )


def test_a_limit_in_dollars_ends_the_calls_and_the_same_command_continues(rescore, emulator):
    status, out, _ = rescore("--model", SONNET, "--yes", "--usd", "0.000001", "--json")
    report = json.loads(out) if out else {}
    assert (status, len(emulator.log)) == (0, 0)
    assert (report["compared"], report["unscored"]) == (0, {"budget_exhausted": 6})
    assert report["figures"]["correlation"]["value"] is None
    status, out, _ = rescore("--model", SONNET, "--yes", "--usd", "1", "--json")
    assert json.loads(out)["compared"] == 6
    [(_, spent)] = execute("SELECT scope, nusd FROM budget_balances WHERE scope = 'run rescore'")
    assert spent == pytest.approx(1e9 * sum(entry.dollars() for entry in emulator.log), abs=1)


def test_another_rubric(rescore, tmp_path):
    rubric = "---\ncriteria: {correctness: 0.5, style: 0.5}\n---\nJudge correctness and style.\n"
    (tmp_path / "strict.md").write_text(rubric)
    status, out, _ = rescore("--rubric", "strict.md", "--yes")
    assert status == 0
    assert f"new: {HAIKU} with strict.md, profile " in out


def test_marks_without_texts_are_counted(rescore):
    execute("DELETE FROM texts WHERE key IN (SELECT key FROM texts ORDER BY key LIMIT 2)")
    status, out, _ = rescore("--model", SONNET, "--yes")
    assert status == 0
    assert out.startswith("6 stored marks, 4 samples of ")
    assert "left out: 2, no texts are stored\n" in out
    execute("DELETE FROM texts")
    status, out, err = rescore("--model", SONNET, "--yes")
    assert (status, out) == (2, "")
    assert err == "none of 6 marks can be made again: no texts are stored (6)\n"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "name the new teacher: --teacher FILE, --model NAME or --rubric FILE"),
        (
            ["--model", HAIKU],
            "the new teacher is the old one: give another --teacher, --model or --rubric",
        ),
        (["--model", SONNET, "--teacher", "config.yaml"], "--teacher names a whole configuration"),
        (["--model", SONNET, "--run", "nobody"], "has no such marks of profile"),
        (["--model", SONNET, "--language", "go"], "has no such marks of profile"),
        (["--model", SONNET, "--until", "2001-01-01"], "has no such marks of profile"),
        (
            ["--model", SONNET, "--profile", "0123456789abcdef"],
            "has no such marks of profile 0123456789abcdef",
        ),
        (
            ["--model", SONNET, "--profile", "x"],
            "--profile 'x' is no profile: 16 hexadecimal digits",
        ),
        (["--model", SONNET, "--as-run", "a b"], "--as-run 'a b'"),
        (["--teacher", "missing.yaml"], "missing.yaml"),
    ],
)
def test_faults_are_one_line(rescore, emulator, arguments, fault):
    status, out, err = rescore(*arguments)
    assert (status, out, len(emulator.log)) == (2, "", 0)
    assert fault in err
    assert err.count("\n") == 1
