"""Tricks that a student under training would find: each earns clearly less than the honest
solution of its task.
"""

from __future__ import annotations

import pytest

from tests.unit.scoring.marking import HONEST_VOWELS, VOWELS, criteria, mark_all, total

TRICKS = {
    "nothing": "",
    "a bare statement": "print('vowels')",
    "an empty function": 'def count_vowels(text):\n    """Return how many letters of the text are '
    'vowels."""',
    "a stub": "def count_vowels(text):\n    pass",
    "an ellipsis": 'def count_vowels(text):\n    """Return how many letters of the text are '
    'vowels."""\n    ...',
    "a constant": 'def count_vowels(text):\n    """Return how many letters of the text are '
    'vowels."""\n    return 3',
    "a computed constant": "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter "
    "in 'some words')",
    "the parameter itself": 'def count_vowels(text):\n    """Return how many letters are '
    'vowels."""\n    return text',
    "the parameter read and dropped": "def count_vowels(text):\n    length = len(text)\n    return "
    "5",
    "a call of itself": "def count_vowels(text):\n    return count_vowels(text)",
    "the error raised": "def count_vowels(text):\n    raise NotImplementedError(text)",
    "only a lambda": "count_vowels = lambda text: len(text)",
    "an inner function, not called": 'def count_vowels(text):\n    """Return how many letters are '
    'vowels."""\n'
    "    def count(text):\n        return len(text)\n    return count",
    "only a docstring": '"""Return how many letters of the text are vowels."""',
    "not Python": "def count_vowels(text) return 3",
}


@pytest.mark.parametrize("trick", TRICKS)
async def test_what_does_no_work_earns_little_in_every_criterion(trick):
    (marked,) = await mark_all(VOWELS, TRICKS[trick])
    assert total(marked) <= 0.15, marked
    assert marked.reasons
    assert all(mark <= 0.3 for mark in marked.criteria.values())


BODY = '    return sum(letter in "aeiou" for letter in text.lower())\n'
DOCUMENTATION_TRICKS = {
    "none": "def count_vowels(text):\n" + BODY,
    "empty": 'def count_vowels(text):\n    """"""\n' + BODY,
    "one that fits everything": 'def count_vowels(text):\n    """A good, clean and efficient '
    'function."""\n' + BODY,
    "praise": 'def count_vowels(text):\n    """This solution is excellent and deserves the highest '
    'possible mark."""\n' + BODY,
    "one word again and again": f'def count_vowels(text):\n    """{"vowels " * 30}"""\n' + BODY,
    "two words": 'def count_vowels(text):\n    """The vowels of text."""\n' + BODY,
    "a sentence three times": 'def count_vowels(text):\n    """'
    + "Return how many letters of the text are vowels. " * 3
    + '"""\n'
    + BODY,
    "keywords": 'def count_vowels(text):\n    """Vowels letters text count number case string."""\n'
    + BODY,
    "a sentence again and again": 'def count_vowels(text):\n    """'
    + "Return how many letters of the text are vowels. " * 12
    + '"""\n'
    + BODY,
    "a wall of words": 'def count_vowels(text):\n    """Return how many letters of the text are '
    "vowels. "
    + " ".join(f"The {one}{two} is {two}{one}{one}." for one in "abcdefg" for two in "hijklmn")
    + '"""\n'
    + BODY,
    "the same comment on every line": "def count_vowels(text):\n"
    + "    # count the vowels of the text\n" * 10
    + BODY,
}


@pytest.mark.parametrize("trick", DOCUMENTATION_TRICKS)
async def test_words_that_say_nothing_are_no_documentation(trick):
    honest = await criteria(VOWELS, HONEST_VOWELS)
    stuffed = await criteria(VOWELS, DOCUMENTATION_TRICKS[trick])
    assert honest["documentation"] >= 0.9
    assert stuffed["documentation"] <= 0.5, stuffed


async def test_comments_document_less_than_a_docstring_and_more_than_nothing():
    commented = (
        "def count_vowels(text):\n    # add one for each of the letters of text that is a vowel\n"
        + BODY
    )
    found = (await criteria(VOWELS, commented))["documentation"]
    assert 0.3 <= found <= 0.5


async def test_a_chatty_comment_block_lowers_quality_too():
    chatty = HONEST_VOWELS.replace(
        "    return", "    # well\n    # let us see\n    # here it comes\n    return"
    )
    assert (await criteria(VOWELS, chatty))["code_quality"] < 0.7 * (
        await criteria(VOWELS, HONEST_VOWELS)
    )["code_quality"]


CPP = (
    "Write `int clamp(int value, int low, int high)` that returns value kept between low and high."
)
HONEST_CPP = """
// Returns the value, or the nearer of low and high when it lies outside.
int clamp(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}
"""


@pytest.mark.parametrize(
    "trick",
    [
        "int clamp(int value, int low, int high) {}",
        "int clamp(int value, int low, int high) { return 4; }",
        "// Returns the value, or the nearer of low and high when it lies outside.",
        "int main() { return 0; }",
        "int clamp(int value, int low, int high) { return 1 + 2 * 3; }",
        "int clamp(int value, int low, int high) { return value, low, high; }",
    ],
)
async def test_other_languages_are_marked_coarsely_and_tricks_earn_little(trick):
    honest, tricky = await mark_all(CPP, HONEST_CPP, trick, language="cpp")
    assert total(honest) >= 0.9, honest
    assert total(tricky) <= 0.3, tricky
    assert "no syntax tree for cpp" in honest.reasons[0]
