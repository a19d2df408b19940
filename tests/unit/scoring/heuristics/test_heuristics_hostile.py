"""Input made to hurt: the judge answers all of it, and soon enough that the tests do not notice."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markbook.scoring.heuristics import SCORES, classify
from markbook.scoring.heuristics.classify import MAX_CHARS
from markbook.scoring.heuristics.grammars import is_valid, parse, parse_strict
from markbook.scoring.heuristics.lexing import scan
from markbook.scoring.pipeline.code_extraction import extract
from tests.unit.scoring.samples import GOOD, LANGUAGES

NEVER = 1e9  # seconds: a deadline for what has none

HOSTILE = {
    "a megabyte on one line": "x = " + "+".join(f"a{n}" for n in range(150_000)),
    "a megabyte of one letter": "x = " + "a" * 1_000_000,
    "a megabyte of white space": "x" + " " * 1_000_000 + "y",
    "100,000 lines": "".join(f"x{n}\n" for n in range(100_000)),
    "100,000 opening brackets": "(" * 100_000,
    "100,000 nested brackets": "[" * 100_000 + "]" * 100_000,
    "100,000 brackets that do not match": "({[" * 33_000 + "x",
    "nested blocks": "".join(f"if a{n}: " for n in range(10_000)),
    "operators": "x = " + "-" * 90_000 + "1",
    "a chain": "f" + "".join(f".a{n}()" for n in range(9_000)),
    "comments that never end": "".join(f"/* a{n} " for n in range(10_000)),
    "raw strings that never end": "".join(f'r#"a{n} R"x(a{n} ' for n in range(6_000)),
    "quotes": "".join(f"'a{n} \"b{n} `${{" for n in range(6_000)),
    "escapes": "".join(f"\\{n % 8}\\\\" for n in range(30_000)),
    "regular expressions that never end": "".join(f"=/[a{n}" for n in range(12_000)),
    "attributes that never end": "".join(f"#[a{n} impl b{n} type c{n}: " for n in range(5_000)),
    "directives": "".join(f"#if a{n} \\\n" for n in range(8_000)),
    "fences": "".join(f"```a{n}\n" for n in range(12_000)),
    "blocks cut off": "```python\n" + "".join(f"`{n}\n" for n in range(12_000)),
    "an apology": "sorry " + "".join(f"i'm a{n} " for n in range(9_000)),
    "placeholders": "".join(f"// TODO ... rest {n}\n(" for n in range(5_000)),
    "null bytes": "".join(f"\0{n}" for n in range(15_000)),
    "lone surrogates": "".join(f"\ud800{n}" for n in range(15_000)),
}


@pytest.mark.parametrize("language", [*LANGUAGES, "haskell"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_gets_an_answer(name: str, language: str) -> None:
    extract(HOSTILE[name], language)
    score, reasons = classify(HOSTILE[name], "Write a program.", language)
    assert (score == 1.0) if not reasons else (score == SCORES[reasons[0]])


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_too_long_to_parse_is_left_to_the_teacher(language: str) -> None:
    broken = "".join(f"value_{n} = {n} * value\n" for n in range(MAX_CHARS // 20)) + ") ("
    assert len(broken) > MAX_CHARS
    assert classify(broken, "Write a program.", language) == (1.0, ())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_time_means_no_judgement(language: str) -> None:
    broken = GOOD[language] * 3 + ") ("
    assert classify(broken, "Write a program.", language).reasons
    if language != "python":  # whose compiler is asked first, and is quick
        assert classify(broken, "Write a program.", language, budget_s=0.0) == (1.0, ())


class TestCharactersThatAreNone:
    def test_a_null_byte_in_python_is_a_syntax_error(self) -> None:
        assert classify("def f(x):\n    return x\0\n", "Task.", "python").reasons == (
            "syntax_error",
        )

    def test_a_lone_surrogate(self) -> None:
        assert classify('x = "\ud800"\nprint(x)\n', "Task.", "python").reasons == ("syntax_error",)
        for language in LANGUAGES[1:]:
            assert classify(GOOD[language].replace("sum: }", "\ud800 }"), "Task.", language) == (
                1.0,
                (),
            )


WORDS = (
    "def f(x): return x; fn let mut => := func package class int void const if else for while "
    "1.0 <T>"
)
MARKS = re.findall(
    r"\S+", r'''( ) { } [ ] " ` / * # \ é /* */ // ``` """ r#" R"( )" ${ #if #endif'''
)
pieces = st.sampled_from(
    [
        *MARKS,
        "'",
        "'''",
        "\0",
        "\ud800",
        "\ufeff",
        *re.findall(r"\w+|\S", WORDS),
        "\n",
        "\r\n",
        " ",
        "\t",
        "\n#define A {\n",
    ]
)
garbage = st.one_of(
    st.text(max_size=300),
    st.lists(pieces, max_size=150).map("".join),
    st.lists(pieces, max_size=60).map(" ".join),
)


@given(garbage, garbage, st.sampled_from([*LANGUAGES, "haskell", ""]))
def test_garbage(code: str, task: str, language: str) -> None:
    result = classify(code, task, language)
    assert result.score in {1.0, *SCORES.values()}
    assert result == classify(code, task, language)
    assert (result.score == 1.0) == (not result.reasons)


@given(garbage, st.sampled_from(LANGUAGES))
def test_what_is_put_into_a_bracket_leaves_it_open(code: str, language: str) -> None:
    if scan(code, language).is_balanced:
        assert scan(f"({code})", language).is_balanced or "//" in code or "#" in code or "/" in code
        assert not scan(
            f"(\n{code}\n", language
        ).is_balanced  # on a line of its own, a directive stays one


@given(garbage.map(lambda text: text * 5), st.sampled_from(LANGUAGES))
def test_an_error_that_is_sure_before_the_end_is_one(code: str, language: str) -> None:
    root = parse_strict(code, language, NEVER)
    assert (root is None or root.has_error) == parse(code, language, NEVER).has_error


def test_what_is_another_language_is_not_read_to_its_end() -> None:
    assert parse_strict(GOOD["rust"] * 5, "typescript", NEVER) is None
    assert not is_valid(GOOD["rust"] * 5, "typescript", NEVER)
    assert is_valid(GOOD["typescript"] * 5, "typescript", NEVER)
