"""The demo's summary from run folders written by hand: finished, interrupted, and ended before
training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markbook.contract import Counters, Source, TeacherStats
from markbook.demo.summary import summary_text

TEACHER = TeacherStats(
    name="static", model="static-1", is_stub=True, description="offline stub, no judge"
)
COUNTERS = Counters(
    samples=6,
    by_source={Source.TEACHER: 3, Source.HEURISTIC: 1, Source.CACHE: 1, Source.COALESCED: 0},
    unscored=1,
    teacher_calls=2,
    api_tokens_sent=1234,
    tokens_saved=99,
)


def mark(**changes: Any) -> dict[str, Any]:
    values = {
        "before": 0.4,
        "after": 0.65,
        "difference": 0.25,
        "interval_95": [0.1, 0.4],
        "tasks": 3,
        "method": "t",
    }
    return values | changes


def summary(**changes: Any) -> dict[str, Any]:
    values = {
        "run": "demo-1",
        "ended": "finished",
        "steps": 11,
        "skipped_steps": 1,
        "mark": mark(),
        "mark_without_documentation": mark(difference=0.125),
        "training": COUNTERS.model_dump(mode="json"),
        "evaluation": Counters().model_dump(mode="json"),
        "seconds": {
            "loading": 1.4,
            "generating": 20.0,
            "scoring": 0.6,
            "learning": 33.0,
            "evaluation": 9.0,
        },
    }
    return values | changes


def sample(task: int, phase: str, mark: float | None, text: str) -> dict[str, Any]:
    return {
        "task": task,
        "phase": phase,
        "mark": mark,
        "sample": text,
        "prompt": f"Task {task}.",
        "reasons": ["short"],
    }


def folder(path: Path, content: dict[str, Any] | None, samples: list[dict[str, Any]]) -> Path:
    if content is not None:
        (path / "summary.json").write_text(json.dumps(content), encoding="utf-8")
        (path / "samples.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in samples), encoding="utf-8"
        )
    return path


def test_it_says_what_changed_and_what_it_took(tmp_path):
    text = summary_text(folder(tmp_path, summary(), []), TEACHER)
    assert (
        "0.400 before, 0.650 after: +0.250 (95 % interval +0.100 to +0.400) over 3 evaluation tasks"
        in text
    )
    assert "without documentation" in text
    assert "11 (1 skipped)" in text
    assert "6: heuristic 1, tests 0, cache 1, coalesced 0, teacher 3, unscored 1" in text
    assert "2 calls, 1,234 tokens sent, 0 received, 99 saved" in text
    assert "loading 1, generating 20, scoring 1, learning 33, evaluation 9" in text
    assert "no judge" in text
    assert f"in {tmp_path}/\n  summary.json   these figures\n  samples.jsonl" in text
    assert "adapter" not in text  # only what is there


def test_what_passes_its_tests_comes_before_the_mark(tmp_path):
    passing = {
        "1": mark(before=0.2, after=0.3, difference=0.1, interval_95=[0.01, 0.19]),
        "4": mark(before=0.5),
    }
    tests = {"passed": 1, "total": 3, "first_failure": "assert f(1) == 2: got\x1b 3", "not_run": 0}
    samples = [
        sample(0, phase, 0.4, "x") | {"tests": tests} for phase in ("eval_before", "eval_after")
    ]
    text = summary_text(folder(tmp_path, summary(pass_at_k=passing), samples), TEACHER)
    assert "0.200 before, 0.300 after: +0.100 (95 % interval +0.010 to +0.190)" in text
    assert text.index("pass@1") < text.index("pass@4") < text.index("mean mark")
    assert "1 of 3 tests passed, failed: assert f(1) == 2: got\\x1b 3" in text


def test_the_example_is_the_sample_that_changed_most_like_the_mean(tmp_path):
    samples = [
        *(sample(0, "eval_before", 0.5, "worse"), sample(0, "eval_before", None, "no mark")),
        *(sample(0, "eval_before", 0.5, "typical"), sample(1, "eval_before", 0.1, "better")),
        sample(2, "train", 1.0, "from training"),
        *(
            sample(0, "eval_after", 0.4, "worse after"),
            sample(0, "eval_after", 1.0, "had none before"),
        ),
        *(
            sample(0, "eval_after", 0.8, "typical after"),
            sample(1, "eval_after", 0.8, "better after"),
        ),
    ]
    text = summary_text(
        folder(tmp_path, summary(), samples), TEACHER
    )  # changes -0.1, +0.3, +0.7: their mean is +0.3
    assert '"Task 0."' in text
    assert "before, mark 0.50: short\n    typical\n" in text
    assert "after, mark 0.80: short\n    typical after\n" in text


def test_a_long_or_wild_sample_does_no_harm_to_the_terminal(tmp_path):
    wild = "\x1b[2Jcleared\n" + "line\n" * 40
    samples = [sample(0, "eval_before", 0.5, wild), sample(0, "eval_after", 0.4, "calm")]
    text = summary_text(folder(tmp_path, summary(), samples), TEACHER)
    assert "\x1b" not in text
    assert text.count("    line") == 13
    assert "[...]" in text


def test_an_interrupted_run_shows_what_there_is(tmp_path):
    half = mark(after=None, difference=None, interval_95=None, tasks=0)
    content = summary(ended="interrupted", mark=half, mark_without_documentation=half)
    text = summary_text(folder(tmp_path, content, [sample(0, "eval_before", 0.5, "x")]), TEACHER)
    assert "interrupted" in text
    assert "0.400 before training; the run ended before the second evaluation" in text
    content = summary()
    del content["mark"], content["mark_without_documentation"]
    assert "mean mark" not in summary_text(folder(tmp_path, content, []), TEACHER)


def test_one_task_has_no_interval_and_nothing_scored_no_mean(tmp_path):
    content = summary(
        mark=mark(interval_95=None, tasks=1), mark_without_documentation=mark(before=None)
    )
    text = summary_text(folder(tmp_path, content, []), TEACHER)
    assert "+0.250 over 1 evaluation tasks" in text
    assert "none of the evaluation was scored" in text


def test_a_run_that_never_began_says_so(tmp_path):
    (tmp_path / "service.log").write_text("listening", encoding="utf-8")
    text = summary_text(folder(tmp_path, None, []), TEACHER)
    assert "before training began" in text
    assert "service.log" in text
