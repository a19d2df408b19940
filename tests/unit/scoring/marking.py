"""Marking by the stub teacher, for its tests: two tasks with their honest solutions."""

from __future__ import annotations

from markbook.scoring.teachers.protocol import Group
from markbook.scoring.teachers.static import StaticTeacher
from markbook.scoring.types import Judgment
from tests.fakes import asked

WEIGHTS = {"correctness": 0.3, "code_quality": 0.3, "efficiency": 0.2, "documentation": 0.2}
VOWELS = (
    "Write a Python function `count_vowels(text)` that returns how many letters of text are vowels."
)
CLAMP = (
    "Write a Python function `clamp(value, low, high)` that returns value kept between low and "
    "high."
)

HONEST_VOWELS = '''
def count_vowels(text):
    """Return how many letters of the text are vowels."""
    return sum(letter in "aeiou" for letter in text.lower())
'''
HONEST_CLAMP = '''
def clamp(value, low, high):
    """Return the value, or the nearer of low and high when it lies outside."""
    return max(low, min(value, high))
'''


async def mark_all(task: str, *codes: str, language: str = "python") -> list[Judgment]:
    reply = await asked(StaticTeacher(), Group("group", task, language, codes))
    assert [call.input_tokens + call.output_tokens for call in reply.calls] == [0]
    assert all(isinstance(outcome, Judgment) for outcome in reply.outcomes)
    return list(reply.outcomes)


def total(marked: Judgment) -> float:
    return sum(WEIGHTS[name] * mark for name, mark in marked.criteria.items())


async def criteria(task: str, code: str, language: str = "python") -> dict[str, float]:
    (marked,) = await mark_all(task, code, language=language)
    return dict(marked.criteria)
