"""Reading a reply: marks, and every way in which it can be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markbook.contract import ErrorCode
from markbook.scoring.teachers.anthropic.reply_parser import read_reply, reply_tokens
from markbook.scoring.types import Judgment, ScoringFailure
from tests.emulator import tokens

NAMES = ("a", "b")
UNREADABLE, TRUNCATED = ErrorCode.REPLY_UNREADABLE, ErrorCode.REPLY_TRUNCATED


def short(outcomes: tuple[Judgment | ScoringFailure, ...]) -> list[object]:
    return [
        tuple(one.criteria.values()) if isinstance(one, Judgment) else one.code for one in outcomes
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 80 5\n2 100 0", [(0.8, 0.05), (1.0, 0.0)]),
        ("2 100 0\n\n  1 80 5  \n", [(0.8, 0.05), (1.0, 0.0)]),
        ("1 80 5", [(0.8, 0.05), UNREADABLE]),
        ("", [UNREADABLE, UNREADABLE]),
        ("1 80 5\n2 101 0", [(0.8, 0.05), UNREADABLE]),
        ("1 80 5\n2 100 0 7", [(0.8, 0.05), UNREADABLE]),
        ("1 80 5\n2 100", [(0.8, 0.05), UNREADABLE]),
        ("1 80 5\n2", [(0.8, 0.05), UNREADABLE]),
        ("1 80 5\n2 100 0\n1 80 5", [UNREADABLE, (1.0, 0.0)]),
        ("1 80 5\n1 80 5\n1 80 5\n2 100 0", [UNREADABLE, (1.0, 0.0)]),
        # marks may be shifted by one, or quoted from a sample: nothing in such a reply is believed
        ("0 80 5\n1 100 0", [UNREADABLE, UNREADABLE]),
        ("1 80 5\n2 100 0\n3 1 1", [UNREADABLE, UNREADABLE]),
        ("Here are the marks:\n1 80 5\n2 100 0", [(0.8, 0.05), (1.0, 0.0)]),
        ("1 80 5\n2 100 0\nSample 2 says: 1 100 100", [UNREADABLE, UNREADABLE]),
        ("1 80 5 because\n2 100 0", [UNREADABLE, UNREADABLE]),
        ("1: 80 5\n2: 100 0", [(0.8, 0.05), (1.0, 0.0)]),
        ("1 0.8 0.05\n2 1.0 0.0", [UNREADABLE, UNREADABLE]),
        ("1 -1 5\n2 100 0", [UNREADABLE, UNREADABLE]),
        ("1 ８０ 5\n2 100 0", [UNREADABLE, UNREADABLE]),
        ("1 " + "9" * 5000 + " 5\n2 100 0", [UNREADABLE, UNREADABLE]),
    ],
)
def test_a_whole_reply(text: str, expected: list[object]) -> None:
    assert short(read_reply(text, 2, NAMES)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 80 5\n2 100 0\n", [(0.8, 0.05), (1.0, 0.0)]),
        ("1 80 5\n2 100 10", [(0.8, 0.05), TRUNCATED]),  # perhaps it was going to be 100
        ("1 80 5\n", [(0.8, 0.05), TRUNCATED]),
        ("1 80 5\n2 1", [(0.8, 0.05), TRUNCATED]),
        ("1 80", [TRUNCATED, TRUNCATED]),
        ("", [TRUNCATED, TRUNCATED]),
        ("1 101 5\n2 1", [UNREADABLE, TRUNCATED]),
    ],
)
def test_a_cut_reply(text: str, expected: list[object]) -> None:
    assert short(read_reply(text, 2, NAMES, cut=True)) == expected


def test_reasons_are_kept_when_asked_for() -> None:
    marked, plain, unreadable = read_reply(
        "1 80 5 2 loops  nested\n2 100 0\n3 7 x y", 3, NAMES, explain=True
    )
    assert marked == Judgment({"a": 0.8, "b": 0.05}, ("2 loops nested",), 1, 3)
    assert plain == Judgment({"a": 1.0, "b": 0.0}, (), 2, 3)
    assert isinstance(unreadable, ScoringFailure)


@given(st.text(alphabet="0123456789 \n.-:abc", max_size=60), st.booleans(), st.booleans())
def test_no_reply_makes_a_mark_outside_0_to_1(text: str, cut: bool, explain: bool) -> None:
    for outcome in read_reply(text, 3, NAMES, cut=cut, explain=explain):
        if isinstance(outcome, Judgment):
            assert set(outcome.criteria) == set(NAMES)
            assert all(0 <= value <= 1 for value in outcome.criteria.values())


def test_a_line_costs_ten_tokens() -> None:
    lines = [f"{number} {80 - number} 70 {60 + number} 5\n" for number in range(1, 9)]
    assert tokens.exact("".join(lines)) == pytest.approx(80, abs=1)


@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_there_is_room_for_the_longest_reply(count: int) -> None:
    longest = "\n".join(f"{number} 100 100 100 100" for number in range(1, count + 1))
    assert tokens.exact(longest) <= reply_tokens(count, 4, explain=False)
    reasons = "\n".join(
        f"{number} 100 100 100 100 mutates its argument, misses empty input, quadratic where a set "
        "would do, misleading"
        for number in range(1, count + 1)
    )
    assert tokens.exact(reasons) <= reply_tokens(count, 4, explain=True)


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e"])
def test_a_reason_may_hold_what_some_take_for_the_end_of_a_line(char):
    text = f"1 80 5 good{char}2 100 100 they say\n2 10 20 bad\n"
    outcomes = read_reply(text, 2, NAMES, explain=True)
    assert short(outcomes) == [(0.8, 0.05), (0.1, 0.2)]
    assert short(read_reply(f"1 80 5{char}2 100 100", 2, NAMES)) == [UNREADABLE, UNREADABLE]
