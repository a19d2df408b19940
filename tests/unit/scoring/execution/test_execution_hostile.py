"""None of what students try passes a test, in either sandbox, and none of it hurts the next."""

from __future__ import annotations

import pytest

from markbook.scoring.execution import Limits, Verdict
from markbook.scoring.execution.cpython import CPythonSandbox, bubblewrap_fault
from markbook.scoring.execution.monty import MontySandbox
from tests.unit.scoring.execution_cases import ALWAYS, BOMBS, LIES, TEST

LIMITS = Limits(test_s=0.3, total_s=1.0, memory_bytes=96 * 2**20)
GENEROUS = Limits(test_s=20.0, total_s=60.0)
RIGHT = "def f(x): return 2 * x"


@pytest.fixture(scope="module", params=["monty", "cpython"])
def sandbox(request):
    if request.param == "cpython" and (fault := bubblewrap_fault()):
        pytest.skip(fault)
    made = MontySandbox(1) if request.param == "monty" else CPythonSandbox()
    yield made
    made.close()


def verdicts(sandbox, code, tests, setup="", limits=GENEROUS):
    return [result.verdict.value for result in sandbox.run(code, tests, setup, limits)]


@pytest.mark.parametrize("name", LIES)
def test_no_lie_passes(sandbox, name):
    tests = [
        TEST,
        "assert 4 == f(2)",
        "assert abs(f(2) - 4) < 1e-6",
        "assert f(2) in (4, 40)",
        "x = f(2)\nassert x == 4",
    ]
    tests += [
        "assert [f(2)] == [4]",
        "assert not f(2) != 4",
        "assert not (f(2) - 4)",
        "assert f(2) == 4 and f(3) == 6",
    ]
    tests += [
        "import math\nassert math.isclose(f(2), 4)",
        "assert all([f(2) == 4, f(3) == 6])",
        "assert {f(2)} == {4}",
    ]
    found = verdicts(sandbox, LIES[name], tests, limits=LIMITS)
    assert "passed" not in found, list(zip(found, tests, strict=True))
    if name == next(iter(LIES)):
        assert verdicts(sandbox, RIGHT, tests) == ["passed"] * len(tests)


@pytest.mark.parametrize("name", BOMBS)
def test_no_bomb_passes(sandbox, name):
    assert "passed" not in verdicts(sandbox, BOMBS[name], [TEST], limits=LIMITS)
    assert verdicts(sandbox, RIGHT, [TEST]) == ["passed"]


@pytest.mark.parametrize("expected", ["None", "[]", "''", "0", "False", "{}"])
def test_what_raises_is_not_empty(sandbox, expected):
    tests = [f"assert f(2) == {expected}", "assert not f(2)", "assert f(2) is None"]
    assert verdicts(sandbox, "def f(x): raise ValueError", tests) == ["failed"] * 3
    assert verdicts(sandbox, "def f(x): return 1", tests) == ["failed"] * 3
    assert verdicts(sandbox, f"def f(x): return {expected}", tests)[:2] == ["passed"] * 2


def test_what_a_test_needs_cannot_be_replaced(sandbox):
    code = (
        "def set(x): return 5\ndef sorted(x): return []\ndef abs(x): return 0\n"
        "def len(x): return 1\ndef all(x): return True\n"
        "class math:\n    isclose = lambda *a: True\nexpected = result = close = None\n"
        "def f(x):\n    global expected, result, close\n    expected = result = 0\n"
        "    close = lambda *a: True\n    return 0"
    )
    tests = [
        "assert set([f(2)]) == set([4])",
        "assert sorted([f(2)]) == sorted([4])",
        "assert abs(f(2) - 4) < 1",
        "assert len([f(2)]) == 2",
        "assert all([f(2)])",
        "assert math.isclose(f(2), 4)",
        "expected = 4\nassert f(2) == expected",
        "result = f(2)\nexpected = 4\nassert result == expected",
        "assert close(f(2), 4)",
    ]
    setup = "def close(a, b):\n    return abs(a - b) < 1"
    assert verdicts(sandbox, code, tests, setup) == ["failed"] * len(tests)


def test_one_test_does_not_poison_the_next(sandbox):
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    assert verdicts(sandbox, code, ["assert f(2) == 1"] * 3) == ["passed"] * 3
    assert verdicts(sandbox, code, ["assert f(2) == 1 and f(2) == 2"]) == ["passed"]


def test_a_class_that_the_test_names_answers_for_itself_but_not_for_numbers(sandbox):
    code = (
        "class Point:\n    def __init__(self, x): self.x = x\n    def double(self): return 2 * "
        "self.x\n"
    )
    lie = ALWAYS.replace("Always", "Point").replace(
        "def f(x): return Point()", "def f(x): return Point()"
    )
    assert (
        verdicts(sandbox, code, ["assert Point(2).double() == 4", "p = Point(3)\nassert p.x == 3"])
        == ["passed"] * 2
    )
    found = verdicts(
        sandbox,
        lie,
        ["assert Point() == 4", "p = Point()\nassert abs(f(p) - 4) < 1", "assert 4 == Point()"],
    )
    assert "passed" not in found


def test_ten_thousand_tests(sandbox):
    count = 10_000 if sandbox.name == "monty" else 500  # CPython starts a process for each
    found = sandbox.run(
        RIGHT, [f"assert f({each}) == {2 * each}" for each in range(count)], "", GENEROUS
    )
    assert len(found) == count
    assert {result.verdict for result in found} == {Verdict.PASSED}
    first = verdicts(sandbox, "def f(x):\n    while True: pass", [TEST] * 10_000, limits=LIMITS)
    assert set(first) == {"timed_out"}


def test_a_test_that_is_none_is_no_failure_of_the_code(sandbox):
    [result] = sandbox.run(RIGHT, ["assert f(2 == 4"], "", GENEROUS)
    assert result.verdict is Verdict.CANNOT_RUN
