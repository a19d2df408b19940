"""`markbook rubric try`: new marks beside stored ones, on both databases, with the cost before
any call.
"""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import ClassVar

import pytest

from markbook.cli import main
from markbook.config.loading import load_config
from markbook.scoring.judging import marking
from markbook.scoring.judging.labelled import LabelledSample
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.types import Judgment
from tests.fakes import RecordingTeacher

STYLE = (
    "---\ncriteria:\n  style: 0.25\n  correctness: 0.75\n---\nstyle: neat?\ncorrectness: right?\n"
)
OLD = {
    "first": {"correctness": 0.5, "code_quality": 1.0, "efficiency": 0.0, "documentation": 0.0},
    "second": {"correctness": 0.0, "code_quality": 0.0, "efficiency": 1.0, "documentation": 1.0},
    "other": {"correctness": 1.0, "code_quality": 1.0, "efficiency": 1.0, "documentation": 1.0},
}
"""By the built-in weights 0.3, 0.3, 0.2 and 0.2: 0.45, 0.40 and 1.00."""
NEW = {
    "first": {"style": 1.0, "correctness": 0.0},
    "second": {"style": 0.0, "correctness": 1.0},
    "other": {"style": 1.0, "correctness": 1.0},
}
"""By 0.25 and 0.75: 0.25, 0.75 and 1.00."""
TASKS = {
    "first": "Write add.",
    "second": "Write add.",
    "other": "Write  max,\nplease, of a list of numbers.",
}


class TwoMinds(RecordingTeacher):
    """Marks by the criteria of the rubric that it was made with."""

    made: ClassVar[list[TwoMinds]] = []

    def __init__(self, rubric) -> None:
        super().__init__()
        self.marks = OLD if "code_quality" in rubric.criteria else NEW
        TwoMinds.made.append(self)

    async def mark(self, group, purse):
        outcomes = await super().mark(group, purse)
        return tuple(
            outcome if code in self.failures else Judgment(self.marks[code])
            for code, outcome in zip(group.codes, outcomes, strict=True)
        )


@pytest.fixture
def run(database_url, tmp_path, monkeypatch, capsys):
    """`run(*arguments)`: exit status, standard output and error, with three marks in the store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(marking, "make_teacher", lambda _, rubric: TwoMinds(rubric))
    (tmp_path / "style.md").write_text(STYLE)
    (tmp_path / "config.yaml").write_text(
        json.dumps({"teacher": {"name": "anthropic"}, "store": {"database_url": database_url}})
    )
    for code in ("other", "first", "second"):
        sample = LabelledSample(prompt=TASKS[code], language="text", code=code, passed=True)
        asyncio.run(
            marking.mark_samples(
                load_config(tmp_path / "config.yaml"),
                [sample],
                [0],
                run=f"run-{code}",
                repeat=0,
                on_marked=str,
            )
        )
    TwoMinds.made.clear()

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["rubric", "try", *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def calls() -> int:
    return sum(len(teacher.groups) for teacher in TwoMinds.made)


def test_old_and_new_marks_are_side_by_side_and_the_cost_comes_first(run):
    status, out, err = run("style.md", "--yes")
    assert status == 0
    assert err.startswith("3 marks, 0 of them stored; claude-haiku-5-5: 2 calls, ")
    assert "without retries at most $" in err
    assert calls() == 2  # the two samples of one task are in one call
    lines = out.splitlines()
    assert lines[2].split() == [
        "TASK", "OLD", "NEW", "CHANGE", "correctness", "code", "quality", "efficiency",
        "documentation", "style",
    ]  # fmt: skip
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in lines[3:6]}
    assert rows["Write max, please, of a list …"].startswith(
        "Write max, please, of a list … 1.00 1.00 +0.00 1.00 -> 1.00 1.00 -> - 1.00 -> - 1.00 -> - "
        "- -> 1.00"
    )
    shown = sorted(" ".join(line.split()) for line in lines[3:6] if line.startswith("Write add."))
    assert shown[0].startswith("Write add. 0.40 0.75 +0.35 0.00 -> 1.00")
    assert shown[1].startswith("Write add. 0.45 0.25 -0.20 0.50 -> 0.00")
    # (0.45 + 0.40 + 1.00) / 3, (0.25 + 0.75 + 1.00) / 3, (0.20 + 0.35) / 3
    assert "mean score 0.617 -> 0.667, mean absolute change 0.183, on 3 samples" in lines
    assert "pairs of a task in another order: 1 of 1" in lines
    assert lines[-1] == "paid $0.00045 in 2 calls"  # three samples of 150e-6 dollars


def test_a_second_time_everything_is_stored_and_nothing_is_asked(run):
    assert run("style.md", "--yes", "--json")[0] == 0
    before = calls()
    status, out, err = run("style.md", "--json")  # no consent is needed
    assert (status, calls()) == (0, before)
    assert err.startswith(
        "3 marks, 3 of them stored; claude-haiku-5-5: 0 calls, 0 tokens, about $0.0000"
    )
    report = json.loads(out)
    assert report["usage"]["teacher_calls"] == 0
    changes = {sample["code"]: sample["change"] for sample in report["samples"]}
    assert changes == {
        "first": pytest.approx(-0.2),
        "second": pytest.approx(0.35),
        "other": pytest.approx(0.0),
    }


def test_the_latest_marks_are_taken_of_a_run_where_one_is_named(run):
    codes = [
        sample["code"]
        for sample in json.loads(run("style.md", "--yes", "--json", "--from-store", "1")[1])[
            "samples"
        ]
    ]
    assert codes == ["second"]
    found = run("style.md", "--yes", "--json", "--run", "run-other")
    assert [sample["code"] for sample in json.loads(found[1])["samples"]] == ["other"]
    status, out, err = run("style.md", "--yes", "--run", "none")
    assert (status, out) == (2, "")
    assert "has no mark of run none with its text under the configured teacher and rubric" in err
    assert err.count("\n") == 1


def test_other_weights_alone_cost_nothing(run, tmp_path):
    built_in = load_rubric()
    weights = {"correctness": 0.4, "code_quality": 0.4, "efficiency": 0.1, "documentation": 0.1}
    assert weights.keys() == built_in.criteria.keys()
    head = "\n".join(f"  {name}: {weights[name]}" for name in built_in.criteria)
    (tmp_path / "weights.md").write_text(f"---\ncriteria:\n{head}\n---\n{built_in.text}")
    status, out, err = run("weights.md", "--json", "--run", "run-first")
    assert (status, calls()) == (0, 0)
    assert "1 marks, 1 of them stored" in err
    [sample] = json.loads(out)["samples"]
    # 0.4 x 0.5 + 0.4 x 1.0, instead of 0.45
    assert sample["new"]["score"] == pytest.approx(0.6)
    assert sample["change"] == pytest.approx(0.15)


def test_calls_need_consent(run):
    status, out, err = run("style.md")
    assert (status, out, calls()) == (2, "", 0)
    assert (
        err.splitlines()[1] == "these calls cost money: add --yes to make them without being asked"
    )


def test_the_configured_rubric_is_nothing_to_try(run, tmp_path):
    (tmp_path / "same.md").write_text(
        (files("markbook.scoring.prompts.rubrics") / "code.md").read_text()
    )
    status, _, err = run("same.md", "--yes")
    assert (status, err) == (2, "same.md is the configured rubric: there is nothing to compare\n")
