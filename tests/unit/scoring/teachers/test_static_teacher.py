"""The stub teacher: each fault costs in its criterion, marks climb with the work done, odd input
does no harm.
"""

from __future__ import annotations

import json

import pytest

from markbook.scoring.teachers.static import StaticTeacher
from markbook.scoring.teachers.static.task import read_task
from markbook.scoring.types import CRITERIA
from tests.unit.scoring.marking import (
    CLAMP,
    HONEST_CLAMP,
    HONEST_VOWELS,
    VOWELS,
    criteria,
    mark_all,
    total,
)


async def test_marks_are_deterministic_complete_and_in_range():
    first = await mark_all(VOWELS, HONEST_VOWELS, "def count_vowels(text): pass", "")
    assert first == await mark_all(VOWELS, HONEST_VOWELS, "def count_vowels(text): pass", "")
    for marked in first:
        assert set(marked.criteria) == set(CRITERIA)
        assert all(0 <= mark <= 1 for mark in marked.criteria.values())


async def test_a_mark_depends_on_no_companion():
    alone = await mark_all(VOWELS, HONEST_VOWELS)
    assert (await mark_all(VOWELS, "def count_vowels(text): return 3", HONEST_VOWELS))[1] == alone[
        0
    ]


@pytest.mark.parametrize(("task", "code"), [(VOWELS, HONEST_VOWELS), (CLAMP, HONEST_CLAMP)])
async def test_an_honest_solution_marks_near_the_top(task, code):
    (marked,) = await mark_all(task, code)
    assert total(marked) >= 0.95, marked


async def test_says_that_it_is_a_stand_in_and_names_its_version():
    teacher = StaticTeacher()
    assert teacher.is_stub
    assert "no judge" in teacher.description
    assert teacher.identity()["version"] == int(teacher.model.removeprefix("static-"))
    json.dumps(teacher.identity())


def clamp(*lines: str) -> str:
    docstring = '"""Return the value, or the nearer of low and high when it lies outside."""'
    return "\n    ".join(["def clamp(value, low, high):", docstring, *lines]) + "\n"


LONG = "the_nearer_one_of_the_value_and_high"
ANSWER = "return max(low, min(value, high))"
WORSE = {
    "an unknown name": ("correctness", clamp("return max(low, min(value, high, highest))")),
    "a method that no type has": ("correctness", clamp("return value.clip(low, high)")),
    "a missing import": ("correctness", clamp("return math.fmax(low, min(value, high))")),
    "another name": ("correctness", HONEST_CLAMP.replace("clamp", "limit_number")),
    "other parameters": (
        "correctness",
        HONEST_CLAMP.replace("(value, low, high)", "(low, high, value)"),
    ),
    "a parameter left out": ("correctness", clamp("return max(low, value)")),
    "no value on some ways": ("correctness", clamp("if low <= value <= high:", "    return value")),
    "a call of itself without end": (
        "correctness",
        clamp("return clamp(max(low, value), low, high)"),
    ),
    "yielding": ("correctness", clamp("yield max(low, min(value, high))")),
    "an example left behind": ("code_quality", HONEST_CLAMP + "\nprint(clamp(1, 2, 3))\n"),
    "a print inside": ("code_quality", clamp("print(value)", ANSWER)),
    "an unused helper": ("code_quality", HONEST_CLAMP + "\ndef helper(value):\n    return value\n"),
    "the function twice": ("code_quality", HONEST_CLAMP + HONEST_CLAMP),
    "an unused import": ("code_quality", "import math\n" + HONEST_CLAMP),
    "code after the return": ("code_quality", clamp(ANSWER, "return low")),
    "a value set for nothing": ("code_quality", clamp("middle = low + high", ANSWER)),
    "a loop variable not read": (
        "code_quality",
        clamp("return max(abs(value - high) for one in (value, low))"),
    ),
    "a line too long": ("code_quality", clamp(f"return max({'low, ' * 30} min(value, high))")),
    "a test whose outcome is fixed": (
        "code_quality",
        clamp("if True:", "    high = high + 0", ANSWER),
    ),
    "a pass": ("code_quality", clamp("pass", ANSWER)),
    "a name of one letter": ("code_quality", clamp("q = min(value, high)", "return max(low, q)")),
    "a name too long": (
        "code_quality",
        clamp(f"{LONG} = min(value, high)", f"return max(low, {LONG})"),
    ),
    "a name in camelCase": (
        "code_quality",
        clamp("upperBound = min(value, high)", "return max(low, upperBound)"),
    ),
    "a built-in hidden": ("code_quality", clamp("sum = min(value, high)", "return max(low, sum)")),
    "== None": ("code_quality", clamp("if value == None:", "    return low", ANSWER)),
    "every exception caught": (
        "code_quality",
        clamp("try:", f"    {ANSWER}", "except:", "    return low"),
    ),
    "a global": ("code_quality", clamp("global value", ANSWER)),
    "a default that calls share": ("code_quality", HONEST_CLAMP.replace("high)", "high=[])", 1)),
    "a name assigned to itself": ("code_quality", clamp("low = low", ANSWER)),
    "a value compared with itself": (
        "code_quality",
        clamp("return max(low if low == low else 0, min(value, high))"),
    ),
    "a value taken from itself": (
        "code_quality",
        clamp("return max(low, min(value, high)) + (low - low)"),
    ),
    "both blocks the same": (
        "code_quality",
        clamp("if value < high:", "    return low", "else:", "    return low"),
    ),
    "both branches the same": ("code_quality", clamp("return low if value < high else low")),
    "an expression without effect": ("code_quality", clamp("low", ANSWER)),
    "deep nesting": (
        "code_quality",
        clamp(
            "if value:",
            "    if low:",
            "        if high:",
            "            if value < low:",
            "                return low",
            "            elif value > high:",
            "                return high",
            "return value",
        ),
    ),
}


@pytest.mark.parametrize("fault", WORSE)
async def test_each_fault_costs_in_its_criterion_and_in_the_whole(fault):
    criterion, code = WORSE[fault]
    honest, faulty = await mark_all(CLAMP, HONEST_CLAMP, code)
    assert faulty.criteria[criterion] <= 0.95 * honest.criteria[criterion], faulty
    assert total(faulty) < total(honest)
    assert len(set(faulty.reasons) - set(honest.reasons)) == 1, faulty.reasons


UNIQUE = (
    "Write a Python function `unique(items)` that returns the items without repeats, in their "
    "first order."
)
LINES = "Write a Python function `lines(items)` that returns a list of the items."
SLOW = {
    "a list moved in a loop": (
        LINES,
        "def lines(items):\n    found = []\n    for item in items:\n        found.append(item * "
        "2)\n    return found\n",
        "def lines(items):\n    found = []\n    for item in items:\n        found.insert(0, "
        "item)\n    return found\n",
    ),
    "a list copied in a loop": (
        LINES,
        "def lines(items):\n    found = []\n    for item in items:\n        found.append(item * "
        "2)\n    return found\n",
        "def lines(items):\n    found = []\n    for item in items:\n        found = found + "
        "[item]\n    return found\n",
    ),
    "a call computed twice": (
        LINES,
        "def lines(items):\n    kept = sorted(items)\n    return kept + kept\n",
        "def lines(items):\n    return sorted(items) + sorted(items)\n",
    ),
    "a list built only to be joined": (
        LINES,
        "def lines(items):\n    return sorted(item * 2 for item in items)\n",
        "def lines(items):\n    return sorted([item * 2 for item in items])\n",
    ),
    "a list copied to be sorted": (
        LINES,
        "def lines(items):\n    return sorted(items)\n",
        "def lines(items):\n    return sorted(list(items))\n",
    ),
    "a list copied item by item": (
        LINES,
        "def lines(items):\n    return list(items)\n",
        "def lines(items):\n    return [item for item in items]\n",
    ),
    "a list searched in a loop": (
        UNIQUE,
        "def unique(items):\n    seen = set()\n    found = []\n    for item in items:\n        if "
        "item not in seen:\n"
        "            seen.add(item)\n            found.append(item)\n    return found\n",
        "def unique(items):\n    found = []\n    for item in items:\n        if item not in "
        "found:\n"
        "            found.append(item)\n    return found\n",
    ),
    "a count in a loop": (
        UNIQUE,
        "def unique(items):\n    return list(dict.fromkeys(items))\n",
        "def unique(items):\n    return [item for item in items if items.count(item) == 1]\n",
    ),
    "a loop over the same in a loop": (
        UNIQUE,
        "def unique(items):\n    return list(dict.fromkeys(items))\n",
        "def unique(items):\n    return [a for a in items for b in items if a == b]\n",
    ),
    "a maximum taken in every round": (
        "Write a Python function `drop_largest(numbers)` that returns the numbers but the largest.",
        "def drop_largest(numbers):\n    top = max(numbers)\n    return [n for n in numbers if n < "
        "top]\n",
        "def drop_largest(numbers):\n    return [n for n in numbers if n < max(numbers)]\n",
    ),
    "a string built piece by piece": (
        "Write a Python function `remove_spaces(text)` that returns text with every blank taken "
        "out.",
        'def remove_spaces(text):\n    return "".join(c for c in text if c != " ")\n',
        'def remove_spaces(text):\n    out = ""\n    for c in text:\n        out += c.strip()\n    '
        "return out\n",
    ),
    "two calls of itself": (
        "Write a Python function `fibonacci(n)` that returns the n-th Fibonacci number.",
        "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    "
        "return a\n",
        "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    ),
    "everything sorted to take one": (
        "Write a Python function `smallest(numbers)` that returns the smallest of the numbers.",
        "def smallest(numbers):\n    return min(numbers)\n",
        "def smallest(numbers):\n    return sorted(numbers)[0]\n",
    ),
}


@pytest.mark.parametrize("waste", SLOW)
async def test_repeated_work_costs_efficiency_alone(waste):
    task, quick, slow = SLOW[waste]
    better, worse = await mark_all(task, quick, slow)
    assert better.criteria["efficiency"] == better.criteria["correctness"] == 1.0, better
    assert worse.criteria["efficiency"] <= 0.95 * worse.criteria["code_quality"], worse


async def test_marks_climb_in_small_steps_from_nothing_to_the_honest_solution():
    ladder = [
        "print(1)",
        "def f(): return 1",
        "def count_vowels(text): return 1",
        "def vowels(t): print(t); return len(t)",
        "def vowels(t): return len(t)",
        "def count_vowels(text): return len(text)",
        'def count_vowels(text):\n    """Return the vowels."""\n    return len(text)',
        'def count_vowels(text):\n    """Return how many letters of the text are vowels."""\n    '
        "return len(text)",
        HONEST_VOWELS,
    ]
    marks = [total(marked) for marked in await mark_all(VOWELS, *ladder)]
    assert marks == sorted(marks)
    assert len({round(mark, 2) for mark in marks}) >= 7, marks


async def test_what_is_wrong_is_neat_and_quick_and_described_by_half_at_most():
    (marked,) = await mark_all(
        CLAMP, HONEST_CLAMP.replace("max(low, min(value, high))", "a(b(c(d(value, low, high))))")
    )
    assert marked.criteria["correctness"] < 0.15
    assert all(
        0.4 < mark < 0.6 for name, mark in marked.criteria.items() if name != "correctness"
    ), marked


async def test_an_operation_that_the_task_speaks_of_is_missed():
    task = (
        "Write `reverse_words(sentence)` that returns the words of the sentence in the opposite "
        "order."
    )
    whole, half, none = await mark_all(
        task,
        'def reverse_words(sentence):\n    return " ".join(reversed(sentence.split()))',
        "def reverse_words(sentence):\n    return sentence[::-1]",
        "def reverse_words(sentence):\n    return sentence.strip()",
    )
    assert whole.criteria["correctness"] == 1.0
    assert none.criteria["correctness"] < half.criteria["correctness"] < 1.0


async def test_control_flow_carries_a_parameter_to_the_result():
    task = 'Write a Python function `grade(score)` that returns "A" from 90 and "F" below.'
    found = await criteria(
        task, 'def grade(score):\n    if score >= 90:\n        return "A"\n    return "F"'
    )
    assert found["correctness"] == 1.0


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return x" + " + 1" * 5000,
        "(" * 500 + ")" * 500,
        "def f(x):\n    return '\\d' is x\n",
        "\ud800",
        "a\x00b",
    ],
    ids=["deep sum", "deep brackets", "bad escape", "lone surrogate", "NUL"],
)
async def test_odd_input_is_marked_without_error_or_warning(code):
    (marked,) = await mark_all("Write a Python function `f(x)` that returns x plus one.", code)
    assert set(marked.criteria) == set(CRITERIA)


async def test_reasons_stay_short_however_long_the_names_are():
    (marked,) = await mark_all(
        CLAMP, f"def {'f' * 50_000}(value): return " + "+".join(f"g{i}(value)" for i in range(99))
    )
    assert len(marked.reasons) <= 12
    assert all(len(reason) < 200 for reason in marked.reasons)


async def test_a_task_that_names_nothing_is_still_marked():
    found = await criteria(
        "Add up the numbers in a list.", "def total(numbers):\n    return sum(numbers)"
    )
    assert found["correctness"] == 1.0


async def test_a_task_that_asks_to_print_wants_no_return():
    found = await criteria(
        "Write `show(items)` that prints every item.",
        "def show(items):\n    for item in items:\n        print(item)",
    )
    assert found["correctness"] == found["code_quality"] == 1.0


def test_a_task_is_read_for_its_name_and_parameters():
    asked = read_task(CLAMP)
    assert (asked.name, asked.parameters) == ("clamp", ("value", "low", "high"))
    assert read_task("Write `f(a: int, b=2)`.").parameters == ("a", "b")
    assert read_task("Write the function `area` of a circle.").name == "area"
    assert read_task("Sort a list.").name is None
