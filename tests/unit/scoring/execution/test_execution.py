"""Verdicts and their messages in both sandboxes, and what only CPython can run."""

from __future__ import annotations

import pytest

from markbook.scoring.execution import (
    Limits,
)
from markbook.scoring.execution.cpython import CPythonSandbox, bubblewrap_fault
from markbook.scoring.execution.monty import MontySandbox

LIMITS = Limits(test_s=20.0, total_s=60.0)


@pytest.fixture(scope="module")
def monty():
    sandbox = MontySandbox(1)
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module", params=["monty", "cpython"])
def sandbox(request, monty):
    if request.param == "monty":
        return monty
    if fault := bubblewrap_fault():
        pytest.skip(fault)
    return CPythonSandbox()


def told(sandbox, code, *tests, setup=""):
    return [
        (result.verdict.value, result.message) for result in sandbox.run(code, tests, setup, LIMITS)
    ]


def test_a_failure_says_what_was_expected_and_got(sandbox):
    code = "def f(x): return x * 2\ndef g(x): return x[9]"
    assert told(
        sandbox,
        code,
        "assert f(2) == 4",
        "assert f(2) == 5",
        "assert f('a') == ['aa']",
        "assert f(2) < 4",
    ) == [
        ("passed", ""),
        ("failed", "expected 5, got 4"),
        ("failed", "expected ['aa'], got 'aa'"),
        ("failed", "not true: 4 < 4"),
    ]
    [(verdict, message)] = told(sandbox, code, "assert g([]) == 1")
    assert (verdict, message) == ("failed", "IndexError: list index out of range")
    [(verdict, message)] = told(sandbox, "def f(x): return 'y' * 100000", "assert f(1) == 'x'")
    assert verdict == "failed"
    assert message.startswith("expected 'x', got 'yyy")
    assert len(message) < 500


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("def f(x): return x", "assert f(1) == 1.0 and f(True) == 1"),
        (
            "def f(x): return (x, [x], {x: {x}}, None, 'é', b'a', 1.5)",
            "assert f(1) == (1, [1], {1: {1}}, None, 'é', b'a', 1.5)",
        ),
        ("def f(x): x.append(4)", "x = [3]\nf(x)\nassert x == [3, 4]"),
        ("def f(x): x[0].append(4)", "y = [3]\nx = [y]\nf(x)\nassert y == [3, 4]"),
        ("def f(g): return g(3)", "assert f(lambda x: x + 1) == 4"),
        (
            "def f(x): raise ValueError('no')",
            "try:\n    f(1)\n    raised = False\nexcept ValueError:\n    raised = True\nassert "
            "raised",
        ),
        ("def sum(a, b): return a + b", "assert sum(10, 15) == 25"),
        ("def f(n): return 10 ** n", "assert f(4000) == 10 ** 4000"),
        ("def f(x): return x", "for each in range(20):\n    assert f(each) == each"),
        ("def f(x): return x", "assert sorted([f(2), f(1)]) == [1, 2]"),
        ("def f(x): return x", "assert f(1) is not None"),
        ("def f(x): return x / 3", "assert abs(f(1) - 0.3333) < 0.001"),
        ("def f(x): print('noise')", "assert f(1) is None"),
        (
            "class A:\n    def __init__(self): self.x = []\n    def add(self, y): self.x.append(y)",
            "a = A()\na.add(3)\nassert a.x == [3]",
        ),
        ("def f(x): return {2, 1}", "assert f(1) == {1, 2}"),
        ("def f(x): return sum(i for i in x)", "assert f([1, 2]) == 3"),
    ],
)  # fmt: skip
def test_what_is_right_passes(sandbox, code, test):
    assert told(sandbox, code, test) == [("passed", "")]


def test_setup_runs_before_each_test(sandbox):
    setup = "import math\nlimit = 4\ncandidate = f\ndef close(a, b):\n    return math.isclose(a, b)"
    code = "def f(x): return 2 * x"
    tests = [
        "assert candidate(2) == limit",
        "assert close(f(2), limit)",
        "limit = 5\nassert f(2) < limit",
    ]
    assert told(sandbox, code, *tests, setup=setup) == [("passed", "")] * 3


def test_what_the_sandbox_lacks_is_no_failure(monty):
    cases = {
        "import heapq\ndef f(x): return heapq.heappop(x)": "heapq",
        "class A(dict): pass\ndef f(x): return 1": "inheritance",
        "def f(x):\n    del x[0]\n    return 1": "del",
        "def f(x): return next(map(int, x))": "iterator",
        "def f(x): return (each for each in x)": "lazy",
    }
    for code, why in cases.items():
        [(verdict, message)] = told(
            monty, code, "assert f([1]) == 1" if why != "lazy" else "assert f([1]) == [1]"
        )
        assert (verdict, why in message) == ("cannot_run", True), message
    failed = {
        "import nosuch\n": "nosuch",
        "''.nosuch\n": "nosuch",
        "raise NotImplementedError('later')": "later",
    }
    for code, why in failed.items():
        [(verdict, message)] = told(monty, code, "assert True")
        assert (verdict, why in message) == ("failed", True), message
