"""Finds the lines that open or close a Markdown fence, skipping those inside comments and
strings of the language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from markbook.scoring.heuristics.lexing import (
    BLOCK,
    CPP_RAW,
    LINE,
    MAX_REGEX,
    NUMBER,
    RUST_CHAR,
    RUST_RAW,
    RUST_STRING,
    TRIPLE,
    TRIPLE_SINGLE,
    Walk,
)

MAX_STEPS = 5_000
"""Scanner steps (about 1 µs each) per text; ordinary code takes one per hundred characters."""
_FUTILE_CHARS = 10  # that count as one step, where they were read in vain

_FENCE_LINE = re.compile(
    r"^(?P<indent>[ \t]*+)(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^\n]*+)(?:\n|\Z)", re.MULTILINE
)

_FENCE = r"[ \t]*+(?:`{3}|~{3})"
# one that does not end on its line ends there; no continuation line of it begins with a fence
_STRING = rf'"[^"\\\n]*+(?:\\(?:[^\n]|\n(?!{_FENCE}))[^"\\\n]*+)*+"?'
_CHAR = _STRING.replace('"', "'")


class _Atoms(NamedTuple):
    """As in `lexing`, but strings match whether closed or not, so that none is scanned twice."""

    whole: str
    """Complete literals and comments."""
    apart: str
    """Openings from which `Walk` continues, by kind."""
    begins: str = ""
    """Letters and digits that a literal may begin with, as a character class."""


_SCRIPT = _Atoms(f"{LINE}|{BLOCK}|{_STRING}|{_CHAR}", r"(?P<spanning>/\*|`)|(?P<slash>/)")
_ATOMS = {
    "cpp": _Atoms(
        f"{LINE}|{BLOCK}|{_STRING}|{NUMBER}|{_CHAR}",
        rf"(?P<raw>{CPP_RAW})|(?P<spanning>/\*)",
        "R0-9",
    ),
    "rust": _Atoms(
        f"{LINE}|{RUST_STRING}|{RUST_CHAR}|'[^\\n]*+",
        rf"(?P<raw>{RUST_RAW})|(?P<spanning>/\*|\")",
        "bcr",
    ),
    "go": _Atoms(f"{LINE}|{BLOCK}|{_STRING}|{_CHAR}|`[^`]*+`", r"(?P<spanning>/\*|`)"),
    "java": _Atoms(f'{LINE}|{BLOCK}|{TRIPLE}|(?!"""){_STRING}|{_CHAR}', r'(?P<spanning>/\*|""")'),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "python": _Atoms(
        f"#[^\\n]*+|{TRIPLE}|{TRIPLE_SINGLE}|(?!\"\"\"|'''){_STRING}|(?!'''){_CHAR}",
        "(?P<spanning>/\\*|`|\"\"\"|''')",
    ),
}


def _scanner(atoms: _Atoms, braces: str = "") -> re.Pattern[str]:
    """Matches up to the line end before a fence, or to the next construct that a single
    expression cannot match.
    """
    apart = atoms.apart + (f"|(?P<bracket>[{braces}])" if braces else "")
    dull = rf"[^{atoms.begins}{braces}#/\"'`\n]++|\n(?!{_FENCE})|`{{3,}}+"
    if atoms.begins:
        dull += rf"|(?<=\w)[{atoms.begins}]++"
    unnamed = re.sub(r"\?P<\w+>", "?:", apart)
    return re.compile(
        rf"(?:{dull}|{atoms.whole}|(?!{unnamed})[{atoms.begins}#/`])*+(?:(?P<line_end>\n)|{apart})"
    )


_SCANNERS = {language: _scanner(atoms) for language, atoms in _ATOMS.items()}
_IN_TEMPLATE = _scanner(_SCRIPT, "{}")


def fence_lines(text: str, language: str) -> Iterator[re.Match[str]]:
    """The lines that open or close a fence, as `indent`, `fence` and `info`; `language` is
    canonical.

    A comment or a string that never ends hides nothing, nor does any once the text has cost
    MAX_STEPS.
    """
    if "```" not in text and "~~~" not in text:
        return
    reader = _Reader(text, language) if language in _SCANNERS else None
    at = 0
    while found := _FENCE_LINE.search(text, at):
        if reader and found.start() > at:
            start = reader.next_fence(at, found.start())
            found = None if start is None else _FENCE_LINE.match(text, start)
            if found is None:
                return
        at = found.end()
        if found["fence"][0] == "~" or "`" not in found["info"]:  # else a ```span```, no fence
            yield found


class _Reader:
    def __init__(self, text: str, language: str) -> None:
        self._text = text
        self._language = language
        self._steps = 0

    def next_fence(self, start: int, first: int) -> int | None:
        """Start of the first fence line outside comments and strings.

        `first`: the first one of any kind.
        """
        at = start
        walk = Walk(self._text, self._language)
        while self._steps < MAX_STEPS and walk.spanning is None:
            scanner = _IN_TEMPLATE if walk.stack else _SCANNERS[self._language]
            found = scanner.match(self._text, at)
            if found is None:
                return None
            kind, at = found.lastgroup, found.end()
            assert kind is not None
            if kind == "line_end":
                return at
            at = walk.skip(kind, found[kind], found.start(kind), at)
            self._steps += 1
            if kind == "slash" and at == found.end():  # looked for the end of a regular expression
                line_end = self._text.find("\n", at, at + MAX_REGEX)
                self._steps += (line_end - at if line_end >= 0 else MAX_REGEX) // _FUTILE_CHARS
        self._steps += (len(self._text) - start) // _FUTILE_CHARS
        return first
