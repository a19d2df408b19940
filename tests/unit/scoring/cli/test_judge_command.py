"""`markbook judge` with the static teacher: files it reads, truths from tests, and one line for
each fault.
"""

from __future__ import annotations

import gzip
import json

import pytest

from markbook.cli import main
from markbook.scoring.execution import TestResult, Verdict
from markbook.scoring.judging.ground_truth import decide
from markbook.scoring.judging.labelled import LabelledSample, Truth, given_truth, number_tasks

GOOD = {
    "prompt": "Write add(a, b).",
    "language": "py",
    "code": "def add(a, b):\n    return a + b",
    "passed": True,
}
BAD = {**GOOD, "code": "def add(a, b:\n", "passed": False}


@pytest.fixture
def judge(tmp_path, capsys, monkeypatch):
    """`judge(*lines, options=[…])`: exit status, standard output and error.

    A line is an object or raw text.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "static.yaml").write_text(
        "store: {database_url: 'sqlite:///marks.db'}\nexecution: {confirm: 'off'}\n"
    )

    def run(*lines, options=("--teacher", "static.yaml"), file="file.jsonl"):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        data = text.encode("utf-8", "surrogatepass")
        (tmp_path / file).write_bytes(gzip.compress(data) if file.endswith(".gz") else data)
        status = main(["judge", file, *options, "--resamples", "100"])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def test_a_table_of_eighty_columns(judge):
    status, out, err = judge(GOOD, BAD, {**GOOD, "prompt": "Another task."}, file="file.jsonl.gz")
    assert status == 0
    assert err == "static: 3 marks, 0 of them stored; the static teacher is free\n"
    assert out.startswith("3 samples of 2 tasks: 2 right, 1 wrong\n")
    assert "AUC (0.5 is chance)      1.000" in out
    assert "  by the heuristic tier  1\n" in out
    assert "retest" not in out
    assert "static: the teacher is the static stub, which is no judge" in out
    assert max(map(len, out.splitlines())) <= 80


def test_tests_decide_the_truth_and_no_mark(judge):
    tests = {"tests": ["assert add(1, 2) == 3"], "passed": None}
    wrong = {**GOOD, **tests, "code": "def add(a, b):\n    return a - b"}
    unknown = {
        **GOOD,
        **tests,
        "tests": ["import socket; socket.socket().connect(('127.0.0.1', 9))"],
    }
    status, out, err = judge(
        {**GOOD, **tests}, wrong, unknown, options=("--teacher", "static.yaml", "--json")
    )
    report = json.loads(out)
    assert status == 0
    assert "1 samples left out: the sandbox lacks something that their tests need" in err
    assert (report["right"], report["wrong"]) == (1, 1)
    assert report["teachers"][0]["by_source"] == {"teacher": 2}


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([Verdict.PASSED, Verdict.PASSED], Truth(1.0, True)),
        ([Verdict.PASSED, Verdict.FAILED], Truth(0.0, False)),
        ([Verdict.CANNOT_RUN, Verdict.FAILED], Truth(0.0, False)),
        ([Verdict.TIMED_OUT], Truth(0.0, False)),
        ([Verdict.PASSED, Verdict.CANNOT_RUN], None),
    ],
)
def test_what_tests_show(verdicts, expected):
    assert decide([TestResult(verdict) for verdict in verdicts]) == expected


def test_scores_by_people_are_right_from_a_limit_on():
    def truth(score, limit):
        return given_truth(LabelledSample(prompt="p", language="go", code="", score=score), limit)

    assert truth(0.5, 0.5) == Truth(0.5, True)
    assert truth(0.49, 0.5) == Truth(0.49, False)
    assert truth(0.6, 0.7) == Truth(0.6, False)


def test_a_task_is_a_prompt_in_a_language():
    lines = [("p", "python"), ("p", "py"), ("p", "go"), ("q", "python"), ("p", "python")]
    samples = [
        LabelledSample(prompt=prompt, language=name, code="", passed=True) for prompt, name in lines
    ]
    assert number_tasks(samples) == [0, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "the line: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "the line: Input should be an object"),
        ({**GOOD, "prompt": ""}, "prompt: String should have at least 1 character"),
        ({"prompt": "p", "language": "go", "passed": True}, "code: Field required"),
        ({**GOOD, "passed": None}, "the line: it has no truth: give passed, score or tests"),
        ({**GOOD, "score": 1}, "the line: it has several truths (passed, score): give one of them"),
        ({**GOOD, "passed": "yes"}, "passed: Input should be a valid boolean"),
        ({**GOOD, "passed": None, "score": 1.5}, "score: Input should be less than or equal to 1"),
        ({**GOOD, "passed": None, "score": True}, "score: Input should be a valid number"),
        ({**GOOD, "passed": None, "score": float("nan")}, "score: Input should be a finite number"),
        ({**GOOD, "passed": None, "tests": []}, "tests: List should have at least 1 item"),
        (
            {**GOOD, "passed": None, "tests": ["x"], "language": "go"},
            "the line: tests can be run in python only, not in go: give passed or score",
        ),
    ],
)
def test_a_faulty_line_is_named(judge, line, fault):
    status, out, err = judge(GOOD, "", line)
    assert (status, out) == (2, "")
    assert err.startswith(f"file.jsonl:3: {fault}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("lines", "options", "fault"),
    [
        ([], [], "file.jsonl holds no samples"),
        (
            [GOOD, GOOD],
            [],
            "file.jsonl: all 2 samples with a known truth are right: both kinds are needed",
        ),
        (
            [BAD],
            [],
            "file.jsonl: all 1 samples with a known truth are wrong: both kinds are needed",
        ),
        ([GOOD, BAD], ["--teacher", "static.yaml"], "--teacher static.yaml is given twice"),
        (
            [GOOD, BAD],
            ["--teacher", "none.yaml"],
            "cannot read the configuration none.yaml: No such file or directory",
        ),
        ([GOOD, BAD], ["--run", "a b"], "--run 'a b': String should match pattern"),
    ],
)
def test_other_faults_are_one_line(judge, lines, options, fault):
    status, out, err = judge(*lines, options=["--teacher", "static.yaml", *options])
    assert (status, out) == (2, "")
    assert err.startswith(fault)
    assert err.count("\n") == 1


def test_a_configuration_without_a_teacher_is_refused(judge, tmp_path):
    (tmp_path / "only.yaml").write_text("rlaif: {tests_policy: only}\n")
    status, _, err = judge(GOOD, BAD, options=["--teacher", "only.yaml"])
    assert (status, err) == (
        2,
        "only.yaml: rlaif.tests_policy is only, so that there is no teacher to measure\n",
    )


def test_a_damaged_file_is_named(judge, tmp_path, capsys):
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-9])
    assert main(["judge", "cut.jsonl.gz", "--teacher", "static.yaml"]) == 2
    assert capsys.readouterr().err.startswith("cannot read cut.jsonl.gz: cut off or damaged")
