"""Checks on plain text, in any language: empty, refusal, repeated task, repetition, prose."""

from __future__ import annotations

import math
import re

_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_ASCII_SPACES = "".join(filter(str.isascii, _SPACES)).encode()
_WIDTHLESS = "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff"

_REFUSAL_OPENS = re.compile(
    r"""\W{0,8}(?:
        (?:i'?m|i\ am|we'?re|we\ are)\s+(?:\w+\s+)?(?:sorry|afraid)\b
      | sorry\b | (?:my\s+)?apologies\b | i\s+(?:\w+\s+)?apologi[sz]e\b | unfortunately\b
      | as\ an?\ (?:ai|artificial|language\ model|large\ language)\b | i'?m\ (?:just\ |only\ )?an\ ai\b
      | i\ (?:can'?t|cannot|can\ not|won'?t|will\ not|don'?t|do\ not|must\ decline)\b
      | (?:i'?m|i\ am)\ (?:not\ able|unable)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL_DECLINES = re.compile(
    r"""\b(?:can'?t|cannot|can\ not|couldn'?t|unable|not\ able|won'?t|will\ not|don'?t|do\ not|doesn'?t|decline|refuse
      | not\ (?:allowed|permitted|possible) | unclear | ambiguous | incomplete | more\ (?:details?|information|context)
      | clarif\w+
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL_WITHIN = 400  # characters: what a refusal says, it says at once

_ECHO_CHARS = 16  # fewer characters than this recur in a task by chance

_PERIOD_CHARS = 64
_PERIOD_LINES = 500
_UNIT_TIMES = 8  # in a row: a few characters, a block of lines, a line
_BLOCK_TIMES = 4
_LINE_TIMES = 10
_REPEATED_SHARE = 1 / 3  # of the text: a drawn ruler or three empty handlers are no failure
_REPEATED_CHARS = 40

_SENTENCE_WORDS = 4
_WORDS_A_MARK = 8  # "runs in O(n)" is a sentence all the same
_LINES_A_CODE_LINE = 10
_SENTENCE_WORD = re.compile(r"[^\W\d_]{2,}")
_CODE_MARK = re.compile(
    r"[;{}=]\s*$|->|::|==|:=|\w\(|\w\.\w|[{}\[\]<>\\|]|^\s*(?:import|package|use|using|from|return)\b"
    r"|^\s*#\s*(?:define|elif|else|endif|if|ifdef|ifndef|include|pragma|undef)\b"
)


def visible_text(text: str) -> str:
    """`text` stripped of white space, byte order marks and other zero-width characters at both
    ends.
    """
    return text.strip(_SPACES + _WIDTHLESS)


def is_refusal(text: str) -> bool:
    """Whether the text begins as a refusal or asks a question back."""
    opening = text[:_REFUSAL_WITHIN].replace("\u2019", "'").lstrip()
    return (
        _REFUSAL_OPENS.match(opening) is not None and _REFUSAL_DECLINES.search(opening) is not None
    )


def repeats_task(text: str, task: str) -> bool:
    """Whether the text is the task or a passage of it, ignoring white space."""
    asked = _without_whitespace(task)
    if _without_whitespace(text[:_ECHO_CHARS]) not in asked:  # nearly every text ends here
        return False
    said = _without_whitespace(text)
    return len(said) >= _ECHO_CHARS and said in asked


def _without_whitespace(text: str) -> str:
    """`text` without white space."""
    if text.isascii():  # ten times faster
        return text.encode().translate(None, _ASCII_SPACES).decode()
    return "".join(text.split())


def repeated_unit(text: str) -> str | None:
    """The unit that the end of the text repeats: a few characters, or one or more lines with
    their line ends.
    """
    text = text.rstrip()
    if characters := _repeated_characters(text):
        return characters
    two_lines = "\n".join(text.rsplit("\n", 3)[-3:-1])  # the last one may be cut short
    if (
        text.count(two_lines) < _BLOCK_TIMES - 1
    ):  # nearly every text ends here, and the rest is slow
        return None
    lines = _repeated_lines([line.rstrip() for line in text.split("\n") if line.strip()])
    return "".join(f"{line}\n" for line in lines) or None


def _repeated_characters(text: str) -> str | None:
    enough = max(_REPEATED_CHARS, len(text) * _REPEATED_SHARE)
    last_line = len(text) - 1 - text.rfind("\n")  # what spans lines is counted in lines
    for period in range(1, min(_PERIOD_CHARS, last_line, len(text) // _UNIT_TIMES) + 1):
        if text[-1] == text[-1 - period] and text.endswith((unit := text[-period:]) * _UNIT_TIMES):
            return unit if text.endswith(unit * math.ceil(enough / period)) else None
    return None


def _repeated_lines(lines: list[str]) -> list[str]:
    for period in range(1, min(_PERIOD_LINES, len(lines) // _BLOCK_TIMES) + 1):
        if not lines[-1 - period].startswith(lines[-1]):
            continue
        end = len(lines) - (
            lines[-1 - period] != lines[-1]
        )  # less the last line where it is cut short
        unit = lines[end - period : end]
        if lines[max(0, end - period * _BLOCK_TIMES) : end] == unit * _BLOCK_TIMES:
            enough = math.ceil(len(lines) * _REPEATED_SHARE / period)
            times = max(enough, _BLOCK_TIMES if period > 1 else _LINE_TIMES)
            return unit if lines[max(0, end - period * times) : end] == unit * times else []
    return []


def is_prose(text: str) -> bool:
    """Whether the text is sentences, headings and lists with hardly a line of code."""
    lines = [line for line in text.split("\n") if line.strip()]
    sentences = code = 0
    for line in lines:
        marks, words = len(_CODE_MARK.findall(line)), len(_SENTENCE_WORD.findall(line))
        if words >= _SENTENCE_WORDS and marks * _WORDS_A_MARK <= words:
            sentences += 1
        elif marks:
            code += 1
            if code * _LINES_A_CODE_LINE > len(lines):
                return False
    return sentences * 2 >= len(lines) > 0
