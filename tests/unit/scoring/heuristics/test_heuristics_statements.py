"""Statements that end without a semicolon of their own: JavaScript's insertion, C++'s macros."""

from __future__ import annotations

import pytest

from markbook.scoring.heuristics import classify

ARROW = "const f = (n) => {\n  return n\n}"
TAILS = {
    "spread": "[...[1, 2], ...[]].forEach((n) => { f(n) })",
    "call": "(async () => { f(1) })()",
    "template": "`text`.trim()",
    "regex": '/re/.test("a")',
    "plus": "+f(1)",
    "minus": "-f(1)",
}
COMPLETE = {
    "arrow": ARROW,
    "arrow and comments": ARROW + " // done\n/* more */",
    "assigned": "o.f = async n => {\n  await n\n}",
    "nested": "const f = a => b => {\n  return b\n}",
    "default": "export default () => {\n  return 1\n}",
    "let": "let total, count",
    "import": "import f from 'module'",
    "import for its effect": 'import "module"',
    "export": "const f = 1\nexport { f }",
    "export of all": "export * from 'module'",
    "debugger": "debugger",
}


# Node 20 takes and refuses these same texts (`node --check` as modules).
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
@pytest.mark.parametrize("head", COMPLETE.values(), ids=COMPLETE)
@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_what_nothing_can_go_on_ends_at_its_line(language, head, tail):
    assert classify(f"{head}\n\n{tail}\n", "", language).reasons == ()


@pytest.mark.parametrize(
    "code",
    [
        "while (true) {\n  if (f(1)) break\n  [a, b] = [b, a]\n}\n",
        "class A {\n  f = () => {\n    return 1\n  }\n  *g() {}\n}\n",
    ],
)
def test_the_same_inside_of_a_block_and_of_a_class(code):
    assert classify(code, "", "javascript").reasons == ()


@pytest.mark.parametrize(
    "code",
    [
        f"{ARROW} {TAILS['spread']}\n",  # on the same line
        f"const f = function () {{\n  return 1\n}}\n{TAILS['spread']}\n",  # can be indexed
        f"const o = {{ a: 1 }}\n{TAILS['regex']}\n",  # can be divided
        f"run(() => {{\n  return 1\n}}\n{TAILS['spread']}\n)\n",  # in a call's brackets
        f"const x = 1 // => {{ }}\n{TAILS['spread']}\n",
    ],
)
@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_what_the_language_reads_on_stays_broken(language, code):
    assert classify(code, "", language).reasons == ("syntax_error",)


def cpp(body: str) -> tuple[str, ...]:
    return classify(f"int f(int a) {{\n  g(a);\n{body}}}\n", "", "cpp").reasons


@pytest.mark.parametrize(
    "body",
    [
        "  CHECK(a)\n",
        "  CHECK(a,\n        a + 1)\n",
        "  if (a) CHECK(a)\n",
        "  if (a)\n    g(a);\n  else CHECK(a)\n",
        "  switch (a) {\n  case 1: CHECK(a)\n  }\n",
        "  Py_RETURN_NONE\n",
        "  g(a); CHECK((a), b(a)) // twice\n",
        "  auto h = [](int b) { CHECK(b) };\n  h(a);\n",
    ],
)
def test_a_macro_as_a_statement_may_bring_its_semicolon(body):
    assert cpp(body) == ()


def test_a_macro_as_a_body_on_one_line():
    assert classify("int f(int a) { CHECK(a) }\n", "", "cpp").reasons == ()


@pytest.mark.parametrize(
    "body",
    [
        "  h(a)\n",
        "  h(a,\n    a)\n",
        "  return MAX(a, 1)\n",
        "  a = MAX(a,\n          1)\n",
        "  g(a) + CHECK(a)\n",
    ],
)
def test_a_function_or_a_macro_in_an_expression_does_not(body):
    assert cpp(body) == ("missing_separator",)
