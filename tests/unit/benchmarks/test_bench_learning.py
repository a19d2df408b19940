"""bench-learning: the ways, what counts as passed, the arithmetic by hand, and an end by a
signal.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from benchmarks import learning, learning_measure
from benchmarks.learning import Outcome, configured, main, parser, table, versus
from benchmarks.learning_measure import change, difference, read_evaluated
from markbook.config.loading import load_config
from markbook.demo.cli import DEFAULT_CONFIG
from markbook.demo.processes import DemoError, Interrupts

CONFIG = """\
training: {eval_tasks: TASKS}
execution: {confirm: "off"}
"""
TASKS = """\
{"prompt": "Write double(n).", "language": "python", "tests": ["assert double(2) == 4", "assert double(0) == 0"]}
{"prompt": "Write half(n).", "language": "python", "tests": ["assert half(4) == n"], "test_setup": "n = 2"}
"""


def test_only_where_marks_come_from_differs_between_the_ways():
    base = load_config(DEFAULT_CONFIG, {})
    ways = {way: configured(base, way, parser().parse_args([])) for way in learning.WAYS}
    policies = {
        way: (config.rlaif.use_tests, config.rlaif.tests_policy) for way, config in ways.items()
    }
    assert policies == {"stub": (False, "gate"), "tests": (True, "only"), "both": (True, "gate")}
    same_tasks = base.training.model_copy(update={"task_sampling": "uniform"})
    assert all(config.training == same_tasks for config in ways.values())
    asked = parser().parse_args(["--steps", "3", "--task-sampling", "frontier"])
    assert configured(base, "both", asked).training == base.training.model_copy(
        update={"max_steps": 3}
    )


def sample(phase: str, task: int, text: str) -> str:
    return json.dumps({"phase": phase, "task": task, "sample": text}) + "\n"


def test_a_sample_passes_when_the_code_in_it_passes_all_tests(tmp_path: Path):
    right = "Sure:\n```python\ndef double(n):\n    return n * 2\n```"
    (tmp_path / "samples.jsonl").write_text(
        sample("eval_before", 0, right)
        + sample(
            "eval_before", 0, "def double(n):\n    return n * n"
        )  # wrong, and the two tests do not show it
        + sample("eval_before", 0, "def double(n):\n    return n + 2")  # passes one of the two
        + sample("eval_before", 1, "def half(n:")
        + sample("train", 0, right)
        + sample("eval_after", 0, "def double(n):\n    return sum([n, n])")
        + sample("eval_after", 1, "import socket\n\ndef half(n):\n    return n // 2"),
        encoding="utf-8",
    )
    (tmp_path / "tasks.jsonl").write_text(TASKS, encoding="utf-8")
    config = CONFIG.replace("TASKS", str(tmp_path / "tasks.jsonl"))
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    assert learning_measure.main([str(tmp_path)]) == 0
    found = read_evaluated(tmp_path)
    assert found["eval_before"].counts == {0: (2, 3), 1: (0, 1)}
    assert found["eval_before"].not_run == 0
    assert found["eval_after"].counts == {0: (1, 1)}
    assert found["eval_after"].not_run == 1  # Monty has no such module


def test_what_cannot_be_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config.yaml").write_text("execution: {confirm: perhaps}\n", encoding="utf-8")
    assert learning_measure.main([str(tmp_path)]) == 2
    assert "execution.confirm" in capsys.readouterr().err


def test_the_change_is_paired_over_tasks_and_a_task_counts_by_its_mean_over_seeds():
    before, after = {0: (0, 4), 1: (1, 4), 2: (4, 4)}, {0: (0, 4), 1: (3, 4)}
    found = change([before], [after])
    assert (found.before, found.after, found.tasks) == (0.125, 0.375, 2)
    assert found.difference.mean == 0.25
    # two tasks drawn anew: a mean of 0, 0.25 or 0.5, and each end has a quarter of the draws
    assert (found.difference.low, found.difference.high) == (0.0, 0.5)
    other = {0: (2, 4), 1: (3, 4), 2: (0, 4)}
    both = difference([before, before], [after, other])
    assert both.mean == pytest.approx(
        (0.25 + 0.5 - 1.0) / 3
    )  # task 0: 0 and 0.5; task 1: 0.75 twice; task 2: 0
    assert str(difference([before], [before])) == "+0.000 (+0.000 to +0.000)"


def outcome(way: str, seed: int, passed: int) -> Outcome:
    marked = {"teacher": 3, "tests": 4, "heuristic": 1, "cache": 0}
    return Outcome(
        way, seed, {0: (1, 4), 1: (1, 4)}, {0: (passed, 4), 1: (passed, 4)}, 1, marked, 6.25
    )


def test_the_table_has_a_line_a_run_one_for_all_seeds_and_the_ways_beside_the_first():
    outcomes = [
        outcome("stub", 0, 1),
        outcome("both", 0, 2),
        outcome("stub", 1, 2),
        outcome("both", 1, 4),
    ]
    lines = table(outcomes)[2:]
    assert [line.split(" | ")[:2] for line in lines] == [
        *(["| stub", seed] for seed in ("0", "1", "all")),
        *(["| both", seed] for seed in ("0", "1", "all")),
    ]
    assert (
        lines[3]
        == "| both | 0 | 0.250 | 0.500 | +0.250 (+0.250 to +0.250) | 2 | 1 | 3 / 4 / 1 | 6.2 |"
    )
    assert (
        lines[5]
        == "| both | all | 0.250 | 0.750 | +0.500 (+0.500 to +0.500) | 2 | 2 | 6 / 8 / 2 | 12.5 |"
    )
    assert versus(outcomes) == [
        "",
        "pass@1 after training, marks of both against those of stub: +0.375 (+0.375 to +0.375)",
    ]
    assert versus(outcomes[:1]) == []


def test_it_runs_every_way_with_every_seed_and_writes_what_the_table_comes_from(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        learning, "one", lambda config, way, seed, folder, interrupts: outcome(way, seed, 3)
    )
    file = tmp_path / "found.json"
    arguments = [
        "--ways",
        "tests",
        "both",
        "--seeds",
        "0",
        "5",
        "--steps",
        "2",
        "--json",
        str(file),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "run 4 of 4: marks of both, seed 5" in printed
    assert (
        "marks of both, seed 5: pass@1 0.250 before, 0.750 after: +0.500 (+0.500 to +0.500)"
        in printed
    )
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["training"]["max_steps"] == 2
    assert [(run["way"], run["seed"]) for run in found["runs"]] == [
        *(("tests", 0), ("both", 0)),
        *(("tests", 5), ("both", 5)),
    ]
    assert found["runs"][0]["after"] == {"0": [3, 4], "1": [3, 4]}
    assert found["runs"][0]["change"]["difference"] == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_a_signal_ends_it_and_nothing_is_left(tmp_path, monkeypatch, capsys):
    folders: list[Path] = []

    def one(config, way, seed, folder, interrupts):
        (folder / "run").mkdir()
        folders.append(folder)
        os.kill(os.getpid(), signal.SIGTERM)
        learning._run(interrupts, ["no_module_that_is_there"], folder)

    monkeypatch.setattr(learning, "one", one)
    assert main(["--json", str(tmp_path / "found.json")]) == 128 + signal.SIGTERM
    assert "stopped" in capsys.readouterr().out
    assert [folder.exists() for folder in folders] == [False]
    assert not [*tmp_path.iterdir()]


def test_runs_that_finished_before_a_stop_are_shown_and_written(tmp_path, monkeypatch, capsys):
    def one(config, way, seed, folder, interrupts):
        if (way, seed) == ("tests", 1):
            raise learning.StoppedError(signal.SIGINT)
        right = {"stub": 1, "tests": 3}[way]
        counts = dict.fromkeys((0, 1), (right + seed, 4))
        return Outcome(way, seed, {0: (0, 4), 1: (0, 4)}, counts, 0, {"tests": 4}, 1.0)

    monkeypatch.setattr(learning, "one", one)
    file = tmp_path / "found.json"
    arguments = ["--seeds", "0", "1", "--ways", "stub", "tests", "--json", str(file)]
    assert main(arguments) == 128 + signal.SIGINT
    shown = capsys.readouterr().out
    assert "stopped: the run under way is lost, 3 finished before it" in shown
    assert "| stub | all | 0.000 | 0.375 |" in shown
    assert (
        "marks of tests against those of stub: +0.500" in shown
    )  # seed 0 alone: the other has no pair
    assert len(json.loads(file.read_text())["runs"]) == 3


def test_a_process_that_fails_is_told_with_the_end_of_the_services_log(tmp_path):
    log = tmp_path / "service.log"
    log.write_text("listening\n", encoding="utf-8")
    with (
        Interrupts() as interrupts,
        pytest.raises(DemoError, match=r"(?s)no_such_module ended.*listening"),
    ):
        learning._run(interrupts, ["no_such_module"], log)


def test_a_place_for_the_figures_that_cannot_be_written_is_told_before_anything_runs(
    tmp_path, capsys
):
    (tmp_path / "file").touch()
    assert main(["--json", str(tmp_path / "file" / "found.json")]) == 2
    assert "cannot write to" in capsys.readouterr().err
