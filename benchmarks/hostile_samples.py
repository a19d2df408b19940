"""Hostile samples for `benchmarks/hostile.py`, each in a version of its own, with honest ones among
them.

What they try is in tests/unit/scoring: the unit tests run every kind against every form of test,
here the kinds meet forms drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from markbook.contract import Sample
from tests.unit.scoring import execution_cases
from tests.unit.scoring.execution_attacks import BOMBS, FORMS, LIES, TRAPS

TASK = "Write a Python function f(x) that returns twice x. Version {number} of the task."
MAX_TESTS = 1000
"""service.max_tests_per_sample: more is a 413."""


class Role(StrEnum):
    HOSTILE = "hostile"
    RIGHT = "honest right"
    WRONG = "honest wrong"


class Made(NamedTuple):
    kind: str
    role: Role
    sample: Sample


SLOW = frozenset(
    [
        "a bomb as a key",
        "a bomb in an exception",
        "a bomb that is printed",
        "a destructor without end",
        "a factorial",
        "a file system that fills",
        "a fork bomb",
        "a fraction that is a power",
        "a hash without end",
        "a list that is its own end",
        "a message of 30 megabytes",
        "a message that trickles",
        "a power",
        "a regex that backtracks",
        "an attribute that doubles with each step",
        "an endless __repr__",
        "an infinite loop",
        "an infinite loop that catches all",
        "an infinite loop while it loads",
        "an iterator without end",
        "files in memory",
        "messages without end",
        "output without end",
        "recursion that catches",
        "recursion without a limit",
        "sets that collide",
        "shared memory that stays",
        "signals are ignored",
        "sleep",
        "the code's last value doubles with each step",
        "the parent is stopped",
        "the test is read from a file",
        "threads",
        "a dict that doubles with each step",
        "a tuple that doubles with each step",
        "a value that doubles with each step",
    ]
)
"""Kinds that use up a time limit, in one sandbox or both: two seconds and more each."""
RIGHT = {
    "an expression": "def f(x):\n    return 2 * x",
    "a loop": "def f(x):\n    total = 0\n    for _ in range(2):\n        total += x\n    return "
    "total",
    "a class": "class Twice:\n    def of(self, x):\n        return x + x\n\ndef f(x):\n    return "
    "Twice().of(x)",
    "a generator": "def parts(x):\n    yield x\n    yield x\n\ndef f(x):\n    return sum(parts(x))",
    "an import": "import operator\n\ndef f(x):\n    return operator.mul(2, x)",
    "recursion": "def f(x):\n    return 0 if x <= 0 else 2 + f(x - 1)",
    "output": "def f(x):\n    print('twice', x)\n    return x * 2",
    "exceptions": "def f(x):\n    try:\n        return x[0]\n    except TypeError:\n        return "
    "x * 2",
    "inheritance": "class A:\n    k = 2\n\nclass B(A):\n    pass\n\ndef f(x):\n    return B.k * x",
}
WRONG = {
    "one too many": "def f(x):\n    return 2 * x + 1",
    "a square of its half": "def f(x):\n    return x * x / 3",
    "a string": "def f(x):\n    return str(2 * x)",
    "nothing": "def f(x):\n    y = 2 * x",
    "a list": "def f(x):\n    return [x, x]",
    "a name that is not there": "def f(x):\n    return twice(x)",
}


def made(count: int, *, seed: int, slow_share: float, honest_share: float) -> Iterator[Made]:
    """`count` samples. The kinds take turns, so that each gets as many versions as the next."""
    draw = random.Random(seed)
    plain = {**execution_cases.LIES, **execution_cases.BOMBS, **LIES, **BOMBS}
    quick = [name for name in (*plain, *TRAPS) if name not in SLOW]
    slow = sorted(SLOW)
    for number in range(count):
        chance = draw.random()
        if chance < slow_share:
            yield Made(*_bomb(slow[number % len(slow)], plain, number, draw))
        elif chance < slow_share + honest_share / 2:
            yield _honest(Role.RIGHT, RIGHT, number, draw)
        elif chance < slow_share + honest_share:
            yield _honest(Role.WRONG, WRONG, number, draw)
        else:
            yield Made(*_lie(quick[number % len(quick)], plain, number, draw))


def _lie(
    kind: str, plain: dict[str, str], number: int, draw: random.Random
) -> tuple[str, Role, Sample]:
    if kind in TRAPS:
        trap = TRAPS[kind]
        tests = draw.sample(trap.tests, draw.randint(1, len(trap.tests)))
        return kind, Role.HOSTILE, _sample(trap.code, tests, number, trap.setup)
    return kind, Role.HOSTILE, _sample(plain[kind], _forms(draw), number)


def _bomb(
    kind: str, plain: dict[str, str], number: int, draw: random.Random
) -> tuple[str, Role, Sample]:
    """Now and then one with as many tests as a sample may have: each starts the code again."""
    tests = [draw.choice(FORMS)] * (MAX_TESTS if draw.random() < 0.02 else 1)
    return kind, Role.HOSTILE, _sample(plain[kind], tests, number)


def _honest(role: Role, codes: dict[str, str], number: int, draw: random.Random) -> Made:
    kind = draw.choice(list(codes))
    return Made(f"{role}: {kind}", role, _sample(codes[kind], _forms(draw), number))


def _forms(draw: random.Random) -> list[str]:
    return draw.sample(FORMS, draw.randint(1, 5))


def _sample(code: str, tests: list[str], number: int, setup: str = "") -> Sample:
    """A version: what is kept of one says nothing of another."""
    return Sample(
        prompt=TASK.format(number=number),
        language="python",
        code=f"version = {number}\n{code}",
        tests=tests,
        test_setup=setup,
    )
