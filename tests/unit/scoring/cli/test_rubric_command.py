"""`markbook rubric`: what it says of a rubric, and that it shows what is sent."""

from __future__ import annotations

import json

import pytest

from markbook.cli import main
from markbook.config.settings import TeacherConfig
from markbook.scoring.cli.rubric import CODES, TASK
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.protocol import Group
from tests.fakes import OpenLimiter
from tests.scripted import Script

STYLE = (
    "---\ncriteria:\n  style: 0.25\n  correctness: 0.75\n---\nstyle: neat?\ncorrectness: right?\n"
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "style.md").write_text(STYLE)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["rubric", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_the_built_in_rubric_is_cached_and_has_no_warnings(run):
    status, told, _ = run("check")
    assert status == 0
    assert f"version       {load_rubric().version}" in told
    assert "cached by claude-haiku-5-5" in told
    assert "correctness       0.3" in told
    assert "warning" not in told


def test_a_short_rubric_is_a_warning_with_both_numbers(run):
    status, told, _ = run("check", "style.md", "--json")
    report = json.loads(told)
    assert (status, report["criteria"], report["cached"]) == (
        0,
        {"style": 0.25, "correctness": 0.75},
        False,
    )
    [warning] = report["warnings"]
    assert "caches prompts of at least 512 tokens, the instructions have about" in warning


def test_the_floor_is_that_of_the_configured_model(run, monkeypatch):
    monkeypatch.setenv("MARKBOOK_TEACHER_MODEL", "claude-haiku-4-5")
    assert "at least 4096 tokens" in run("check")[1]
    monkeypatch.setenv("MARKBOOK_TEACHER_MODEL", "some-open-model")
    assert "marked for caching (some-open-model is unknown)" in run("check")[1]


def test_without_correctness_tests_cannot_decide_a_mark(run, tmp_path):
    (tmp_path / "other.md").write_text("---\ncriteria: {style: 1}\n---\nstyle: neat?\n")
    assert "no criterion is called correctness" in run("check", "other.md")[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("style: 1", "a rubric starts with `---`"),
        ("---\ncriteria: {style: 0.5}\n---\nstyle", "the weights sum to 0.5, expected 1"),
        ("---\ncriteria: {style: 1}\n---\nnothing", "the text does not mention style"),
    ],
)
def test_what_cannot_be_used_is_one_line(run, tmp_path, content, message):
    (tmp_path / "bad.md").write_text(content)
    status, told, error = run("check", "bad.md")
    assert (status, told, len(error.splitlines())) == (2, "", 1)
    assert message in error


async def test_show_is_the_request_that_the_teacher_sends(script: Script, run):
    script.answers = [(400, {}, "{}")]
    settings = TeacherConfig(name="anthropic", base_url=script.url, shuffle_group=False)
    teacher = AnthropicTeacher(settings, load_rubric(), api_key="k")
    await teacher.mark(Group("0", TASK, "python", CODES), OpenLimiter())
    await teacher.close()
    assert json.loads(run("show", "--json")[1]) == json.loads(script.seen[0][2])


def test_show_takes_files_as_the_service_does(run, tmp_path):
    (tmp_path / "a.rs").write_text("Sure:\n```rust\nfn f() {}\n```\n")
    (tmp_path / "task.md").write_text("Write f. " + "x " * 200)
    status, told, _ = run("show", "--prompt-file", "task.md", "--code", "a.rs")
    assert status == 0
    assert " task, rust\nWrite f. " in told
    assert " […]\n" in told  # truncated as configured
    assert " 1\nfn f() {}\n" in told
    assert "Sure" not in told


def test_files_of_two_languages_are_no_group(run, tmp_path):
    for name in ("a.py", "b.rs"):
        (tmp_path / name).write_text("x = 1")
    assert "one language" in run("show", "--code", "a.py", "--code", "b.rs")[2]
