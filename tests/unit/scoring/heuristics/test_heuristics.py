"""What the tier rejects, why, and what it lets pass."""

from __future__ import annotations

import pytest

from markbook.scoring.heuristics import SCORES, classify
from tests.unit.scoring.samples import BROKEN_BY_LANGUAGE, GOOD, LANGUAGES, VALID_AND_RARE

TASK = "Write a function that returns the sum of the even numbers in a list."
PASSED = (1.0, ())


def reason(code: str, language: str = "python", task: str = TASK) -> str | None:
    score, reasons = classify(code, task, language)
    if not reasons:
        assert score == 1.0
        return None
    assert len(reasons) == 1
    assert score == SCORES[reasons[0]]
    return reasons[0]


def test_marks_are_between_nothing_and_a_twentieth() -> None:
    assert set(SCORES.values()) == {0.0, 0.02, 0.05}


class TestGoodCodePasses:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_as_it_is(self, language: str) -> None:
        assert classify(GOOD[language], TASK, language) == PASSED

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_with_the_line_ends_of_windows(self, language: str) -> None:
        assert classify(GOOD[language].replace("\n", "\r\n"), TASK, language) == PASSED

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_with_a_byte_order_mark_and_without_a_last_line_end(self, language: str) -> None:
        assert classify("\ufeff" + GOOD[language].rstrip(), TASK, language) == PASSED

    @pytest.mark.parametrize(("language", "code"), VALID_AND_RARE)
    def test_what_a_grammar_or_an_old_python_does_not_read(self, language: str, code: str) -> None:
        assert classify(code, TASK, language) == PASSED

    def test_a_table_of_equal_rows(self) -> None:
        rows = "    0, 0, 0, 0,\n" * 60
        assert classify(f"def f(x):\n    return T[x]\n\nT = [\n{rows}]\n", TASK, "python") == PASSED

    def test_text_in_a_language_without_a_parser(self) -> None:
        assert (
            classify("fib n = if n < 2 then n else fib (n-1) + fib (n-2", TASK, "haskell") == PASSED
        )
        assert classify("ls -la", TASK, "bash") == PASSED

    def test_the_body_of_the_function_that_the_task_began(self) -> None:
        assert classify("    total = 0\n    return total\n", "def f(x):\n", "python") == PASSED
        assert classify("    return total;\n  }\n", "int f(int total) {\n", "java") == PASSED
        assert (
            reason("    return total;\n  }\n", "java", "Add an int total and return it.")
            == "stray_bracket"
        )


@pytest.mark.parametrize("language", LANGUAGES)
class TestBrokenInEveryLanguage:
    def test_the_last_closing_bracket_deleted(self, language: str) -> None:
        code = GOOD[language]
        at = max(code.rfind(bracket) for bracket in ")]}")
        assert reason(code[:at] + code[at + 1 :], language) in ("unclosed_bracket", "cut_off")

    def test_a_closing_bracket_too_many(self, language: str) -> None:
        assert reason(GOOD[language] + "\n}\n", language) == "stray_bracket"

    def test_a_quote_deleted(self, language: str) -> None:
        code = GOOD[language]
        at = code.index('"', code.index('"') + 1)
        assert reason(code[:at] + code[at + 1 :], language) in ("unclosed_quote", "syntax_error")

    def test_cut_off_wherever(self, language: str) -> None:
        code = GOOD[language]
        cuts = [reason(code[:length], language) for length in range(len(code) // 4, len(code) - 10)]
        rejected = [cut for cut in cuts if cut]
        # between two functions, or in a comment there, the first part stands for itself; Python's
        # has no brackets
        assert len(rejected) >= len(cuts) * (0.7 if language == "python" else 0.9)
        assert "cut_off" in rejected

    def test_another_language(self, language: str) -> None:
        others = [other for other in LANGUAGES if other != language]
        if language == "typescript":
            others.remove("javascript")  # which is TypeScript too
        for other in others:
            assert reason(GOOD[other], language) == "wrong_language", other


@pytest.mark.parametrize(("language", "code", "expected"), BROKEN_BY_LANGUAGE)
def test_broken(language: str, code: str, expected: str) -> None:
    assert reason(code, language) == expected


class TestNothingToMark:
    @pytest.mark.parametrize("language", [*LANGUAGES, "haskell"])
    def test_no_text(self, language: str) -> None:
        assert reason("", language) == "empty"
        assert reason(" \r\n\t\u00a0\u3000", language) == "whitespace"
        assert reason("\ufeff\u200b" * 30, language) == "whitespace"

    def test_too_short(self) -> None:
        assert reason("abs(total") == "too_short"  # nine characters
        assert reason("abs(total)") is None
        assert reason("f=abs") is None
        assert reason("A\n/ \\\nB", "typescript") == "too_short"

    @pytest.mark.parametrize(
        ("language", "code"),
        [
            ("python", "# first\n# second, and no more\n"),
            ("python", '"""The sum of the even numbers."""\n'),
            ("cpp", "// first\n/* second,\n   and no more */\n"),
            ("rust", "//! first\n/* second */\n"),
            ("go", "// first\n/* second */\n"),
            ("java", "/** first */\n// second\n"),
            ("javascript", "#!/usr/bin/env node\n// second\n"),
            ("typescript", "// first\n/* second */\n"),
        ],
    )
    def test_comments_only(self, language: str, code: str) -> None:
        assert reason(code, language) == "comments_only"

    @pytest.mark.parametrize(
        "text",
        [
            "I'm sorry, but I can't help with that.",
            "I’m sorry, but as an AI language model I cannot write code.",
            "Unfortunately, the task is unclear to me. Could you give an example?",
            "As an AI, I don't have access to your files.",
            "I cannot do this.\n\nPlease ask for something else (or more of it).",
            "**I apologize**, but I need more details.",
        ],
    )
    @pytest.mark.parametrize("language", ["python", "cpp", "haskell"])
    def test_refusal(self, text: str, language: str) -> None:
        assert reason(text, language) == "refusal"

    def test_an_apology_in_code_is_no_refusal(self) -> None:
        assert reason('SORRY = "sorry, I cannot"\nprint(SORRY)\n') is None

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_prose(self, language: str) -> None:
        text = """## How it works

The function walks over the list once and adds every even number to a running sum.
It doesn't need any other memory, so it runs in O(n).

- First we check that the list isn't empty.
- Then we return the sum of what we found.
"""
        assert reason(text, language) == "prose"

    @pytest.mark.parametrize("language", [*LANGUAGES, "haskell"])
    def test_the_task_again(self, language: str) -> None:
        assert reason(f"  {TASK}\n", language) == "echoes_task"
        assert reason(TASK.replace(" ", "\n"), language) == "echoes_task"
        assert reason(TASK[:40], language) == "echoes_task"
        assert reason(TASK.replace(" ", "\u00a0"), language) == "echoes_task"
        assert reason(TASK[:40] + "a row", language) != "echoes_task"

    def test_a_few_letters_of_the_task_are_no_echo(self) -> None:
        assert reason("total = a + b", task="Compute total = a + b.") is None
        assert reason("total_of_all = a + b", task="Compute total_of_all = a + b.") == "echoes_task"


class TestRepetition:
    @pytest.mark.parametrize("unit", ["0", "( ", "}", "the ", "\\n", "</s>", "abc def "])
    @pytest.mark.parametrize("language", ["python", "rust", "haskell"])
    def test_of_characters(self, unit: str, language: str) -> None:
        assert reason(unit * 60, language) == "repeated_characters"

    @pytest.mark.parametrize(("times", "rejected"), [(9, None), (10, "repeated_line")])
    def test_of_a_line(self, times: int, rejected: str | None) -> None:
        assert reason("def f(x):\n    y = 0\n" + "    y += x + x\n" * times) == rejected

    @pytest.mark.parametrize(("times", "rejected"), [(3, None), (4, "repeated_block")])
    def test_of_a_block(self, times: int, rejected: str | None) -> None:
        assert reason("def f(x):\n    return x\n\n" * times) == rejected

    def test_of_a_comment_that_the_end_cuts_short(self) -> None:
        assert (
            reason("x = [1, 2]\n" + "# Check the edge cases.\n" * 20 + "# Check the ed")
            == "repeated_comment"
        )

    @pytest.mark.parametrize(
        ("language", "comment", "rejected"),
        [
            ("python", "#\n", "repeated_comment"),
            ("python", "# Add one.\n\n# Add two.\n", "repeated_comment"),
            ("go", "// Add one.\n", "repeated_comment"),
            ("java", "/*\n * Add one.\n */\n", "repeated_comment"),
            ("cpp", "#include <map>\n", "repeated_line"),
            ("haskell", "-- Add one.\n", "repeated_line"),
            ("rust", "// Add one.\nf();\n", "repeated_block"),
        ],
    )
    def test_of_a_comment_is_told_from_that_of_code(
        self, language: str, comment: str, rejected: str
    ) -> None:
        assert reason(comment * 10, language) == rejected

    def test_less_than_a_third_of_the_text_is_none(self) -> None:
        code = "".join(f"v{n} = {n}\n" for n in range(40))
        assert reason(code + "print()\n" * 19) is None
        assert reason(code + "print()\n" * 20) == "repeated_line"

    def test_a_ruler_is_none(self) -> None:
        assert reason("x = 1\ny = [x, x]\nprint(sum(y), len(y))\n# " + "=" * 20) is None


class TestStubs:
    @pytest.mark.parametrize(
        ("language", "code"),
        [
            ("python", "def f(x):\n    pass\n"),
            ("python", "import math\n\n\ndef f(x):\n    # TODO: implement\n    ...\n"),
            ("python", "def f(x, *rest, start=0, **named):\n    pass\n"),
            (
                "python",
                'class A:\n    def f(self):\n        """Sum."""\n        raise '
                "NotImplementedError\n",
            ),
            ("cpp", "#include <vector>\n\nint f() {\n    // TODO: implement\n    return 0;\n}\n"),
            ("cpp", "class A {\npublic:\n    void f() { /* your code here */ }\n};\n"),
            ("cpp", "#include <vector>\n\nint main() {\n}\n"),
            ("rust", "pub fn f() -> u8 {\n    todo!()\n}\n"),
            ("rust", 'fn main() {\n    unimplemented!("not yet");\n}\n'),
            ("go", 'package main\n\nfunc f() int {\n\tpanic("not implemented")\n}\n'),
            (
                "java",
                'class A {\n  int f() {\n    throw new UnsupportedOperationException("later");\n  '
                "}\n}\n",
            ),
            ("java", "public class A {\n  // your code here\n}\n"),
            (
                "javascript",
                'export const f = () => {\n  throw new Error("Please implement the '
                'function");\n};\n',
            ),
            ("typescript", "function f(): void {\n  // TODO: implement\n}\n"),
        ],
    )
    def test_work_left_undone(self, language: str, code: str) -> None:
        assert reason(code, language) == "stub"
        assert reason(code, language, "Write an abstract base class with one method.") is None

    @pytest.mark.parametrize(
        ("language", "code"),
        [
            ("python", "def f(x):\n    pass\n\n\ndef g(x):\n    return sum(x)\n"),
            ("python", "class NotEven(ValueError):\n    pass\n"),
            ("python", "class P(Protocol):\n    def f(self) -> int: ...\n"),
            ("python", "def f(x):\n    return None\n"),
            ("python", "LIMIT = 3\n\n\ndef f(x):\n    pass\n"),
            ("cpp", "TEST(Even, Empty) {}\n"),
            ("cpp", "int f() { return 0; }\n"),
            ("rust", "fn main() {\n    // nothing more to do here\n}\n"),
            ("go", "package a\n\nfunc reset() {}\n"),
            ("java", "class A extends Exception {}\n"),
            ("java", "interface A { int f(); }\n"),
            ("javascript", "export function noop() {}\n"),
            ("javascript", 'function f() { throw new Error("no even numbers"); }\n'),
            ("typescript", "class A { constructor(readonly x: number) {} }\n"),
        ],
    )
    def test_work(self, language: str, code: str) -> None:
        assert reason(code, language) is None

    def test_work_left_out(self) -> None:
        code = "def f(x):\n    y = sum(x)\n    {}\n    return y\n"
        assert reason(code.format("# ... rest of the implementation ...")) == "elided"
        assert reason(code.format("# (remaining code unchanged)")) == "elided"
        assert reason(code.format("# ...")) is None
        assert reason(code.format("# (remaining numbers are odd)")) is None
        assert reason(code.format("# it is the sum\n    # ... rest of the explanation")) is None
