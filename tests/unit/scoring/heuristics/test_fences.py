"""Finding a completion's fences takes linear work, whatever the completion."""

from __future__ import annotations

import pytest

from markbook.scoring.heuristics import fences
from markbook.scoring.heuristics.fences import MAX_STEPS, fence_lines
from markbook.scoring.heuristics.lexing import Walk
from markbook.scoring.pipeline.code_extraction import extract
from tests.unit.scoring.samples import LANGUAGES

CHARS = 100_000
MAX_GIVEN_UP = 20

HOSTILE = {
    "backticks": "`",
    "fences": "```\n",
    "spans of code on one line": "``` a ",
    "backticks apart": "` ",
    "comments that never end": "```\n/* a\n",
    "nested comments that never end": "```\n/* /* */\n",
    "triple quotes that never end": '```\n\\"""\n',
    "strings that go on": '\\"\\\n',
    "templates": "`${",
    "templates with blocks in them": "```\n`${ a\n",
    "regular expressions in the classes of others": "[" + "/[" * 99 + "]",
    "divisions": "a/a",
    "raw strings": '```\nr#"x\nR"(\n',
    "braces": "{}",
    "white space": " ",
    "one line": "a+",
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", HOSTILE)
def test_the_steps_are_bounded(name: str, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    walks: list[Walk] = []

    class Counted(Walk):
        def __init__(self, text: str, language: str) -> None:
            super().__init__(text, language)
            walks.append(self)

        def skip(self, kind: str, value: str, start: int, end: int) -> int:
            nonlocal steps
            steps += 1
            return super().skip(kind, value, start, end)

    monkeypatch.setattr(fences, "Walk", Counted)
    unit = HOSTILE[name]
    text = "```\n" + unit * (CHARS // len(unit)) + "\n```\n"
    found = list(fence_lines(text, language))
    assert found[0].start() == 0
    assert steps <= MAX_STEPS
    assert sum(walk.spanning is not None for walk in walks) <= MAX_GIVEN_UP


@pytest.mark.parametrize("language", [*LANGUAGES, "haskell"])
@pytest.mark.parametrize(
    ("completion", "code"),
    [("`" * 100_000, ""), ("```\n" * 50_000, ""), ("```\n" + "x" * 1_000_000, "x" * 1_000_000)],
    ids=["backticks", "fences", "a megabyte on one line"],
)
def test_what_is_long_is_read_all_the_same(completion: str, code: str, language: str) -> None:
    assert extract(completion, language).code == code


def test_after_too_many_steps_fences_count_as_they_stand() -> None:
    hidden = "/*\n```\n*/\n"
    few, many = "`${" * 10 + "}`" * 10, "`${" * MAX_STEPS + "}`" * MAX_STEPS
    assert [line.start() for line in fence_lines(f"{few}\n{hidden}", "javascript")] == []
    assert len(list(fence_lines(f"{many}\n{hidden}", "javascript"))) == 1


@pytest.mark.parametrize("space", ["\f", "\v", "\r", "\u00a0"])
def test_only_spaces_and_tabs_indent_a_fence(space: str) -> None:
    text = f"{space}```\nx\n\t ```\n"
    assert [line["indent"] for line in fence_lines(text, "python")] == ["\t "]


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "rust"])
def test_an_apostrophe_before_a_line_break_hides_no_fence(language: str) -> None:
    text = f"That isn't all:\\\n```{language}\nx\n```\n"
    assert len(list(fence_lines(text, language))) == 2


@pytest.mark.parametrize(
    ("language", "literal"), [("python", '"""'), ("java", '"""'), ("go", "`"), ("javascript", "`")]
)
def test_a_string_that_never_ends_hides_no_fence(language: str, literal: str) -> None:
    assert len(list(fence_lines(f"{literal}\n~~~\n", language))) == 1
    assert len(list(fence_lines(f"{literal}\n~~~\n{literal}\n", language))) == 0


def test_in_a_template_a_string_may_hold_its_end() -> None:
    assert list(fence_lines("`${ {a: '}`'} + /`/ }\n~~~\n`\n", "typescript")) == []
    assert len(list(fence_lines("`${ {a: 1} }`\n~~~\n", "typescript"))) == 1
