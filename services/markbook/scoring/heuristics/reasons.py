"""Every reason for which the heuristic tier rejects a sample: its code, the score, and an
explanation.
"""

from __future__ import annotations

from collections.abc import Iterable

EMPTY = 0.0
"""No answer at all."""
INVALID = 0.02
"""Not valid in the language."""
INCOMPLETE = 0.05
"""Incomplete, but a start of an answer."""

REASONS: dict[str, tuple[float, str]] = {
    "empty": (EMPTY, "There is no code."),
    "whitespace": (EMPTY, "There is only white space and invisible characters."),
    "too_short": (EMPTY, "Fewer than 10 visible characters and no assignment: not a program."),
    "repeated_characters": (EMPTY, "The same few characters repeat over and over."),
    "repeated_comment": (EMPTY, "The same comment repeats over and over."),
    "repeated_line": (EMPTY, "The same line repeats over and over."),
    "repeated_block": (EMPTY, "The same block of lines repeats over and over."),
    "refusal": (EMPTY, "The text refuses the task and contains no code."),
    "echoes_task": (EMPTY, "The text repeats the task and adds no code of its own."),
    "prose": (EMPTY, "The text is prose, not code."),
    "comments_only": (EMPTY, "There are only comments or a docstring, no code."),
    "stub": (EMPTY, "Every function is a stub: pass, TODO, not implemented."),
    "wrong_language": (INVALID, "The code is in another language than the task's."),
    "unclosed_bracket": (INVALID, "A bracket is never closed."),
    "stray_bracket": (INVALID, "A closing bracket has no opening bracket of its kind."),
    "unclosed_quote": (INVALID, "A string is not terminated."),
    "unclosed_comment": (INVALID, "A block comment is not terminated."),
    "unclosed_conditional": (
        INVALID,
        "An #if or #ifdef has no #endif, or an #endif has no #if.",
    ),
    "missing_separator": (INVALID, "A semicolon is missing."),
    "indentation": (INVALID, "The indentation is not valid Python."),
    "syntax_error": (INVALID, "The language's parser rejects the code."),
    "elided": (INCOMPLETE, "A comment replaces omitted code."),
    "cut_off": (INCOMPLETE, "The code breaks off in the middle of a construct."),
}


def explain(codes: Iterable[str]) -> str:
    """A sentence for each code."""
    return " ".join(REASONS[code][1] for code in codes)
