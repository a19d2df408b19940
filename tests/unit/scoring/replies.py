"""Replies in the forms that models give, each with what is right: the marks by sample, or that none
can be trusted.

The marks of the generated ones are chosen first and then written down in a form, so that what is
expected does not depend on any parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

CRITERIA = ("correctness", "code_quality", "efficiency", "documentation")
Marks = tuple[int, ...]


class Reply(NamedTuple):
    """`expected`: marks by sample, None where that sample has none; None in all: nothing may be
    accepted.
    """

    form: str
    text: str
    count: int
    expected: tuple[Marks | None, ...]
    explain: bool = False


GROUPS: tuple[tuple[Marks, ...], ...] = (
    ((80, 70, 60, 50),),
    ((80, 5, 100, 0), (100, 0, 33, 7)),
    ((90, 85, 70, 60), (20, 40, 55, 10), (0, 0, 0, 0)),
    ((1, 2, 3, 4), (4, 3, 2, 1), (100, 100, 100, 100), (50, 50, 50, 50)),
    tuple((10 * number, 100 - 10 * number, 55, number) for number in range(1, 9)),
)


def _each(
    line: Callable[[int, Marks], str], before: str = "", after: str = ""
) -> Callable[[Sequence[Marks]], str]:
    def write(group: Sequence[Marks]) -> str:
        return (
            before
            + "\n".join(line(number, marks) for number, marks in enumerate(group, start=1))
            + after
        )

    return write


def _joined(separator: str) -> Callable[[int, Marks], str]:
    return lambda number, marks: f"{number} {separator.join(map(str, marks))}"


def _head(opening: str, closing: str = "") -> Callable[[int, Marks], str]:
    return lambda number, marks: f"{opening}{number}{closing} {' '.join(map(str, marks))}"


_PLAIN = _joined(" ")
_TABLE_HEAD = f"| sample | {' | '.join(CRITERIA)} |\n|---|---|---|---|---|\n"

ACCEPTED: dict[str, Callable[[Sequence[Marks]], str]] = {
    "plain": _each(_PLAIN),
    "last line feed": _each(_PLAIN, after="\n"),
    "carriage returns": lambda group: _each(_PLAIN)(group).replace("\n", "\r\n"),
    "empty lines": lambda group: _each(_PLAIN)(group).replace("\n", "\n\n"),
    "indented": _each(_head("   ")),
    "tabs": lambda group: _each(_PLAIN)(group).replace(" ", "\t"),
    "fence": _each(_PLAIN, "```\n", "\n```"),
    "fence with a word": _each(_PLAIN, "```text\n", "\n```\n"),
    "colon": _each(_head("", ":")),
    "colon without a space": _each(lambda number, marks: f"{number}:{' '.join(map(str, marks))}"),
    "full stop": _each(_head("", ".")),
    "bracket": _each(_head("", ")")),
    "hash": _each(_head("#")),
    "hash and colon": _each(_head("#", ":")),
    "sample": _each(_head("Sample ")),
    "sample and colon": _each(_head("Sample ", ":")),
    "sample, hash and colon": _each(_head("sample #", ":")),
    "commas": _each(_joined(", ")),
    "commas without spaces": _each(lambda number, marks: f"{number},{','.join(map(str, marks))}"),
    "colon and commas": _each(lambda number, marks: f"{number}: {', '.join(map(str, marks))}"),
    "semicolons": _each(_joined("; ")),
    "of a hundred": _each(_joined("/100 "), after="/100"),
    "of a hundred, spaced": _each(
        lambda number, marks: f"{number}: {', '.join(f'{mark} / 100' for mark in marks)}"
    ),
    "per cent": _each(lambda number, marks: f"{number} {' '.join(f'{mark}%' for mark in marks)}"),
    "bullets": _each(_head("- ")),
    "bullets and colon": _each(_head("- Sample ", ":")),
    "round bullets": _each(_head("• ", ":")),
    "bold number": _each(_head("**", "**")),
    "bold sample": _each(_head("**Sample ", ":**")),
    "code": _each(lambda number, marks: f"`{number} {' '.join(map(str, marks))}`"),
    "table": _each(
        lambda number, marks: f"| {number} | {' | '.join(map(str, marks))} |", _TABLE_HEAD
    ),
    "pipes": _each(lambda number, marks: f"{number} | {' | '.join(map(str, marks))}"),
    "a dash behind the number": _each(_head("", " -")),
    "full stop at the end": _each(lambda number, marks: f"{number}: {', '.join(map(str, marks))}."),
    "greeting": _each(_PLAIN, "Here are the marks:\n"),
    "greeting and fence": _each(_PLAIN, "Sure! Here are the marks:\n\n```\n", "\n```"),
    "closing remark": _each(_PLAIN, after="\n\nLet me know if you need anything else."),
    "greeting, form and remark": _each(_joined(", "), "Marks:\n", "\nDone."),
    "head with the criteria": _each(_PLAIN, f"sample {' '.join(CRITERIA)}\n"),
    "a remark that names one criterion": _each(
        _PLAIN, after="\nNote: documentation is thin throughout."
    ),
    "rule": _each(_PLAIN, "---\n", "\n---"),
}

_TWO = "1 80 70 60 50\n2 10 20 30 40"
REFUSED: dict[str, str] = {
    "a number in the greeting": f"Here are 2 samples:\n{_TWO}",
    "a number in the remark": f"{_TWO}\nThe first is 70 points better.",
    "a quoted mark": f"{_TWO}\nSample 2 says: 1 100 100 100 100",
    "a quoted mark in a sentence": "The comment in sample 2 asks for 100.\n" + _TWO,
    "text between": "1 80 70 60 50\nThe second one is worse:\n2 10 20 30 40",
    "text and a line missing": "Here are the marks:\n1 80 70 60 50",
    "text and another order": "Here are the marks:\n2 10 20 30 40\n1 80 70 60 50",
    "head in another order": "sample documentation correctness code_quality efficiency\n" + _TWO,
    "head of a table in another order": "| sample | efficiency | correctness |\n|---|---|---|\n"
    + _TWO,
    "numbered from zero": "0 80 70 60 50\n1 10 20 30 40",
    "one sample too many": f"{_TWO}\n3 1 1 1 1",
    "numbers of another task": "101 80 70 60 50\n102 10 20 30 40",
    "shares of one": "1 0.8 0.7 0.6 0.5\n2 0.1 0.2 0.3 0.4",
    "whole shares of one": "1 1.0 0.0 1.0 0.0\n2 0.0 1.0 0.0 1.0",
    "halves": "1 80.5 70 60 50\n2 10 20 30 40",
    "of ten": "1 8/10 7/10 6/10 5/10\n2 1/10 2/10 3/10 4/10",
    "of a thousand": "1 80/1000 70 60 50\n2 10 20 30 40",
    "of five": "1: 4/5, 3/5, 3/5, 2/5\n2: 1/5, 1/5, 2/5, 2/5",
    "negative": "1 -80 70 60 50\n2 10 20 30 40",
    "plus": "1 +80 70 60 50\n2 10 20 30 40",
    "wide digits": "1 ８０ 70 60 50\n2 10 20 30 40",
    "circled digits": "① 80 70 60 50\n② 10 20 30 40",
    "superscript": "1 80² 70 60 50\n2 10 20 30 40",
    "letters for marks": "1 A B A C\n2 F F F F",
    "words for marks": "one eighty seventy sixty fifty",
    "marks with letters": "1 80a 70 60 50\n2 10 20 30 40",
    "ranges": "1 70-80 70 60 50\n2 10 20 30 40",
    "ranges with spaces": "1 70 - 80 60 50\n2 10 20 30 40",
    "about": "1 ~80 70 60 50\n2 10 20 30 40",
    "named": "1: correctness 80, code_quality 70, efficiency 60, documentation 50\n2: correctness "
    "10, code_quality 20",
    "named in another order": "1 documentation=50 correctness=80 code_quality=70 efficiency=60",
    "JSON": '[{"sample": 1, "correctness": 80}, {"sample": 2, "correctness": 10}]',
    "JSON lists": "[[1, 80, 70, 60, 50], [2, 10, 20, 30, 40]]",
    "YAML": "1:\n  correctness: 80\n  code_quality: 70",
    "a reason that was not requested": "1 80 70 60 50 because it is short\n2 10 20 30 40",
    "of 2": "1 of 2: 80 70 60 50\n2 of 2: 10 20 30 40",
    "joined": "1 80 70 60 50 2 10 20 30 40 3",
    "number with a decimal": "1.5 80 70 60 50\n2 10 20 30 40",
    "date": "2026-11-27\n" + _TWO,
    "thinking": "<think>sample 1 handles 3 of 4 cases</think>\n" + _TWO,
    "a refusal": "I cannot score this request.",
    "nothing": "",
    "long text": "word " * 60 + "\n" + _TWO,
    "a line of another script's digits": "١ 80 70 60 50\n2 10 20 30 40",
    "hexadecimal": "1 0x50 70 60 50\n2 10 20 30 40",
    "exponent": "1 8e1 70 60 50\n2 10 20 30 40",
    "thousands": "1 1,000 70 60 50 2",
    "html": "<li>1 80 70 60 50</li><li>2 10 20 30 40</li>",
    "a mark in a bracket": "1 (80) 70 60 50\n2 10 20 30 40",
    "an arrow": "1 -> 80 70 60 50\n2 -> 10 20 30 40",
    "a version": "v2 marks:\n" + _TWO,
}
ONE_SAMPLE_ONLY: dict[str, tuple[str, tuple[Marks | None, ...]]] = {
    "a mark too many": ("1 80 70 60 50 9\n2 10 20 30 40", (None, (10, 20, 30, 40))),
    "a mark too few": ("1 80 70 60\n2 10 20 30 40", (None, (10, 20, 30, 40))),
    "above a hundred": ("1 80 70 60 101\n2 10 20 30 40", (None, (10, 20, 30, 40))),
    "twice": ("1 80 70 60 50\n2 10 20 30 40\n1 80 70 60 50", (None, (10, 20, 30, 40))),
    "twice, decorated": (
        "1: 80 70 60 50\n2: 10 20 30 40\n#1 100 100 100 100",
        (None, (10, 20, 30, 40)),
    ),
    "missing": ("2 10 20 30 40", (None, (10, 20, 30, 40))),
    "another order": ("2 10 20 30 40\n1 80 70 60 50", ((80, 70, 60, 50), (10, 20, 30, 40))),
    "number alone": ("1\n2 10 20 30 40", (None, (10, 20, 30, 40))),
    "decimals that show their scale": (
        "1 80.0 70.0 1.0 0.0\n2 10 20 30 40",
        ((80, 70, 1, 0), (10, 20, 30, 40)),
    ),
    "mixed forms": (
        "1: 80, 70, 60, 50\n- Sample 2: 10/100 20% 30 40",
        ((80, 70, 60, 50), (10, 20, 30, 40)),
    ),
}
EXPLAINED: dict[str, tuple[str, tuple[Marks | None, ...]]] = {
    "plain": (
        "1 80 70 60 50 misses empty input\n2 10 20 30 40 wrong",
        ((80, 70, 60, 50), (10, 20, 30, 40)),
    ),
    "a number in the reason": ("1 80 70 60 50 2 loops where 1 would do", ((80, 70, 60, 50),)),
    "a dash before the reason": (
        "1: 80, 70, 60, 50 - fine\n2: 10, 20, 30, 40 - wrong",
        ((80, 70, 60, 50), (10, 20, 30, 40)),
    ),
    "of a hundred": ("1: 80/100 70/100 60/100 50/100 fine", ((80, 70, 60, 50),)),
    "too few marks": ("1 80 70 fine\n2 10 20 30 40 wrong", (None, (10, 20, 30, 40))),
    "a reason in a second line with a number": ("1 80 70 60 50 slow:\nit has 3 loops", (None,)),
    "table": ("| 1 | 80 | 70 | 60 | 50 | fine |", ((80, 70, 60, 50),)),
}


def replies() -> Iterator[Reply]:
    for form, write in ACCEPTED.items():
        for group in GROUPS:
            yield Reply(form, write(group), len(group), group)
    for form, text in REFUSED.items():
        yield Reply(form, text, 2, (None, None))
    for form, (text, expected) in ONE_SAMPLE_ONLY.items():
        yield Reply(form, text, 2, expected)
    for form, (text, expected) in EXPLAINED.items():
        yield Reply(f"explained: {form}", text, len(expected), expected, explain=True)
