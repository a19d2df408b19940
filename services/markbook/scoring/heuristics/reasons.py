"""Every reason for which the heuristic tier rejects a sample: its code, its mark, and what it says to a person."""

from __future__ import annotations

from collections.abc import Iterable

NOTHING = 0.0
"""For what is no answer."""
BROKEN = 0.02
"""For what breaks the language's rules."""
ON_ITS_WAY = 0.05
"""For what breaks off, and was on its way to an answer."""

REASONS: dict[str, tuple[float, str]] = {
    "empty": (NOTHING, "There is no code."),
    "whitespace": (NOTHING, "There is nothing but white space and invisible characters."),
    "too_short": (NOTHING, "Fewer than 10 visible characters and no assignment are no program."),
    "repeated_characters": (NOTHING, "The text is the same few characters over and over."),
    "repeated_comment": (NOTHING, "The text is the same comment over and over."),
    "repeated_line": (NOTHING, "The text is the same line over and over."),
    "repeated_block": (NOTHING, "The text is the same lines over and over."),
    "refusal": (NOTHING, "The text declines the task and holds no code."),
    "echoes_task": (NOTHING, "The text repeats the task and adds no code."),
    "prose": (NOTHING, "The text is prose and no code."),
    "comments_only": (NOTHING, "There are comments or a docstring and no code."),
    "stub": (NOTHING, "Every function leaves its work undone: pass, TODO, not implemented."),
    "wrong_language": (BROKEN, "The code is in another language than the one that was asked for."),
    "unclosed_bracket": (BROKEN, "A bracket is never closed."),
    "stray_bracket": (BROKEN, "A closing bracket closes nothing, or another kind of bracket."),
    "unclosed_quote": (BROKEN, "A string does not end."),
    "unclosed_comment": (BROKEN, "A block comment does not end."),
    "unclosed_conditional": (
        BROKEN,
        "An #if or #ifdef has no #endif, or an #endif has no #if.",
    ),
    "missing_separator": (BROKEN, "A semicolon is missing."),
    "indentation": (BROKEN, "The indentation is not valid Python."),
    "syntax_error": (BROKEN, "The language's parser does not read the code."),
    "elided": (ON_ITS_WAY, "A comment says that code was left out there."),
    "cut_off": (ON_ITS_WAY, "The code ends in the middle of something."),
}


def explain(codes: Iterable[str]) -> str:
    """A sentence for each code."""
    return " ".join(REASONS[code][1] for code in codes)
