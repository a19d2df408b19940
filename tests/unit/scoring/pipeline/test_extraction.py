"""Which part of a completion is the code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markbook.contract import ExtractedFrom
from markbook.scoring.pipeline.code_extraction import Extraction, extract

CODE = "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    ("completion", "code", "extracted_from"),
    [
        (CODE, CODE, ExtractedFrom.COMPLETION),
        ("", "", ExtractedFrom.COMPLETION),
        (f"```python\n{CODE}```", CODE, ExtractedFrom.BLOCK),
        (f"```py\n{CODE}```\n", CODE, ExtractedFrom.BLOCK),
        (f"```Python\n{CODE}```\n", CODE, ExtractedFrom.BLOCK),
        (f"```{{.python}}\n{CODE}```\n", CODE, ExtractedFrom.BLOCK),
        (f"```python title=f.py\n{CODE}```\n", CODE, ExtractedFrom.BLOCK),
        (f"```\n{CODE}```\n", CODE, ExtractedFrom.BLOCK),
        (f"~~~python\n{CODE}~~~\n", CODE, ExtractedFrom.BLOCK),
        (f"````python\n{CODE}````\n", CODE, ExtractedFrom.BLOCK),
        (
            f"Sure! It's {{simple}} (really:\n\n```python\n{CODE}```\n\nThat isn't all.",
            CODE,
            ExtractedFrom.BLOCK,
        ),
        (f"```python\n{CODE}", CODE, ExtractedFrom.BLOCK_CUT_OFF),
        ("```python\ndef f(x):\n    ret", "def f(x):\n    ret", ExtractedFrom.BLOCK_CUT_OFF),
        ("```python\n", "", ExtractedFrom.BLOCK_CUT_OFF),
        ("```python\n```\n", "", ExtractedFrom.BLOCK),
        ("```python", "", ExtractedFrom.BLOCK_CUT_OFF),
        # a list indents its block
        (
            "1. First\n\n   ```python\n   x = [1,\n        2]\n   ```\n",
            "x = [1,\n     2]\n",
            ExtractedFrom.BLOCK,
        ),
    ],
)
def test_one_block(completion: str, code: str, extracted_from: ExtractedFrom) -> None:
    assert extract(completion, "python") == Extraction(code, extracted_from)


def test_line_ends_of_windows_stay() -> None:
    windows = CODE.replace("\n", "\r\n")
    assert extract(f"Here:\r\n```python\r\n{windows}```\r\n", "python") == Extraction(
        windows, ExtractedFrom.BLOCK
    )
    assert extract(windows, "python") == Extraction(windows, ExtractedFrom.COMPLETION)


class TestSeveralBlocks:
    def test_the_language_counts_before_the_length(self) -> None:
        shell = "```bash\n" + "python solution.py --verbose\n" * 9 + "```\n"
        assert extract(f"{shell}\n```python\n{CODE}```\n{shell}", "python").code == CODE

    def test_of_one_language_it_is_the_longest(self) -> None:
        use = "```python\nf(1)\n```\n"
        assert extract(f"{use}```python\n{CODE}```\n{use}", "python").code == CODE

    def test_the_first_of_two_equally_long(self) -> None:
        assert extract("```python\na = 1\n```\n```python\nb = 2\n```\n", "python").code == "a = 1\n"

    def test_without_the_language_it_is_the_longest_of_all(self) -> None:
        assert extract(f"```\n1\n```\n```text\n{CODE}```\n", "python").code == CODE

    def test_an_alias_is_the_language(self) -> None:
        assert (
            extract("```text\nlong output, of no interest\n```\n```c++\nint x;\n```\n", "cpp").code
            == "int x;\n"
        )

    def test_an_unknown_language_is_matched_by_its_name(self) -> None:
        assert (
            extract("```text\nlong output\n```\n```Haskell\nx = 1\n```\n", "haskell").code
            == "x = 1\n"
        )

    def test_a_second_block_may_be_cut_off(self) -> None:
        first = "```python\nx = 1\n```\n"
        assert extract(f"{first}```python\n{CODE}", "python") == Extraction(
            CODE, ExtractedFrom.BLOCK_CUT_OFF
        )
        assert extract(f"```python\n{CODE}```\n```python\nf(", "python") == Extraction(
            CODE, ExtractedFrom.BLOCK
        )


class TestFencesThatAreCode:
    @pytest.mark.parametrize(
        ("language", "code"),
        [
            ("python", '"""Module.\n\n```\nexample\n```\n"""\nx = 1\n'),
            ("python", "def f():\n    '''\n    ```\n    f()\n    ```\n    '''\n    return 1\n"),
            ("cpp", "/**\n```\nf();\n```\n*/\nint f();\n"),
            ("cpp", 'auto s = R"(\n```\n)";\n'),
            ("rust", "/*!\n```ignore\nf();\n```\n/* nested */\n```\ng();\n```\n*/\nfn f() {}\n"),
            ("rust", "/// ```\n/// f();\n/// ```\nfn f() {}\n"),
            ("go", "/*\n```\n*/\nfunc f() {}\n"),
            ("java", 'class A { String s = """\n```\n"""; }\n'),
            ("javascript", "/*\n```\nf()\n```\n*/\nconst f = () => `${1}`\n"),
            ("typescript", "/**\n * ```ts\n * f()\n * ```\n */\nexport const f = 1\n"),
        ],
    )
    def test_in_a_comment_or_a_string(self, language: str, code: str) -> None:
        assert extract(code, language) == Extraction(code, ExtractedFrom.COMPLETION)
        assert extract(f"So:\n\n```{language}\n{code}```\n\nIt's done.", language) == Extraction(
            code, ExtractedFrom.BLOCK
        )

    def test_a_comment_that_never_ends_hides_no_fence(self) -> None:
        assert extract("```cpp\nint f();\n/* cut\n```\n", "cpp").code == "int f();\n/* cut\n"

    def test_a_span_of_code_is_no_fence(self) -> None:
        text = "```x = 1``` assigns.\n"
        assert extract(text, "python") == Extraction(text, ExtractedFrom.COMPLETION)
        assert extract(f"{text}```python\n{CODE}```\n", "python").code == CODE

    def test_a_longer_fence_holds_a_shorter_one(self) -> None:
        inner = "```\ninner\n```\n"
        assert extract(f"````markdown\n{inner}````\n", "markdown").code == inner


def test_code_before_a_closing_fence_that_nothing_opened() -> None:
    assert extract(f"{CODE}```\nDone.", "python") == Extraction(CODE, ExtractedFrom.BEFORE_FENCE)
    assert extract(f"Code\n```\n{CODE}", "python") == Extraction(CODE, ExtractedFrom.BLOCK_CUT_OFF)


def test_nothing_but_fences() -> None:
    assert extract("```\n" * 100_000, "python").extracted_from == ExtractedFrom.BLOCK


@given(
    st.text(alphabet="`~ab \n\r\"'/*#{}${", max_size=300),
    st.sampled_from(["python", "rust", "javascript", "other"]),
)
def test_what_is_extracted_stands_in_the_completion(completion: str, language: str) -> None:
    code = extract(completion, language).code
    assert "".join(code.split()) in "".join(completion.split())
