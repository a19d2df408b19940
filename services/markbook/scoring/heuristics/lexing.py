"""Scans brackets, quotes and comments of the seven languages without a grammar, and reports what
stays open.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PAIRS = {")": "(", "]": "[", "}": "{"}

LINE = r"//[^\n]*+"
BLOCK = r"/\*(?s:.*?)\*/"
STRING = r'"[^"\\\n]*+(?:\\(?s:.)[^"\\\n]*+)*+"'
CHAR = r"'[^'\\\n]*+(?:\\(?s:.)[^'\\\n]*+)*+'"
NUMBER = r"\b\d(?:'?\w)*+"
TRIPLE = r'"""[^"\\]*+(?:(?:\\(?s:.)|"(?!""))[^"\\]*+)*+"""'
TRIPLE_SINGLE = TRIPLE.replace('"', "'")
RUST_CHAR = r"b?'(?:[^'\\\n]|\\(?:x\w\w|u\{\w*+\}|[^xu\n]))'|'[^\W\d]\w*+"
RUST_STRING = r'[bc]?"[^"\\]*+(?:\\(?s:.)[^"\\]*+)*+"'
CPP_RAW = r'R"[^()\\\s]{0,16}\('
RUST_RAW = r'[bc]?r#*+"'


class _Atoms(NamedTuple):
    literal: str
    """Complete strings and similar literals, so that `//` inside them is not taken for a
    comment.
    """
    comment: str = f"{LINE}|{BLOCK}"
    """Complete comments."""
    spanning: str = r"/\*|`"
    """Opens a literal that may span lines."""
    quote: str = "[\"']"
    """Opens a literal that may not span lines."""
    begins: str = ""
    """Letters and digits that a literal may begin with, as a character class."""
    begins_none: str = "(?!)"
    """Words that begin with one of these letters but are no literal."""
    raw: str = "(?!)"
    """Opens a raw string, which has no escapes."""


_SCRIPT = _Atoms(f"{STRING}|{CHAR}")
_ATOMS = {
    "cpp": _Atoms(
        f"{STRING}|{NUMBER}|{CHAR}",
        spanning=r"/\*",
        begins="R0-9",
        begins_none='R(?!")',
        raw=CPP_RAW,
    ),
    "rust": _Atoms(
        f"{RUST_STRING}|{RUST_CHAR}",
        LINE,
        r'/\*|"',
        "'",
        begins="bcr",
        begins_none="[bcr](?!r?#*\"|')",
        raw=RUST_RAW,
    ),
    "go": _Atoms(f"{STRING}|{CHAR}|`[^`]*+`"),
    "java": _Atoms(f"{TRIPLE}|{STRING}|{CHAR}", spanning=r'/\*|"""'),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "python": _Atoms(f"{TRIPLE}|{TRIPLE_SINGLE}|{STRING}|{CHAR}", r"#[^\n]*+", "\"\"\"|'''"),
}


def _scanner(atoms: _Atoms, *, skip_pairs: bool = True) -> re.Pattern[str]:
    # what is of no interest is run over first: trying every alternative at every character is three
    # times slower
    dull = rf"[^{atoms.begins}#~/\"'`()\[\]{{}}]++"
    if atoms.begins:
        dull += rf"|(?<=\w)[{atoms.begins}]++|{atoms.begins_none}"
    dull += f"|{atoms.literal}"
    pairs = (
        "|".join(
            rf"\{opening}(?:{dull})*+\{closing}"
            for closing, opening in _PAIRS.items()
            if skip_pairs
        )
        or "(?!)"
    )
    return re.compile(
        rf"(?:{dull}|{pairs})*+(?:(?P<raw>{atoms.raw})|(?P<comment>{atoms.comment})|(?P<spanning>{atoms.spanning})"
        rf"|(?P<quote>{atoms.quote})|(?P<slash>/)|(?P<bracket>[()\[\]{{}}])|(?P<other>[`~#{atoms.begins}]))"
    )


_SCANNERS = {language: _scanner(atoms) for language, atoms in _ATOMS.items()}
_EVERY_BRACKET = _scanner(_SCRIPT, skip_pairs=False)

_TEMPLATE = re.compile(r"(?:[^`\\$]|\\(?s:.)|\$(?!\{))*+(`|\$\{)")
_REGEX = re.compile(r"/(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.){0,200}+\]){1,300}+/\w*+")
MAX_REGEX = 1_000
"""Characters; longer text is not taken for a regular expression."""
_REGEX_AFTER = re.compile(
    r"(?<![\w$)\]}\"'`.])|(?<=\b(?:in|of|do))|(?<=\bnew)|(?<=\b(?:case|else|void))"
    r"|(?<=\b(?:throw|await|yield))|(?<=\b(?:return|typeof|delete))"
)
_DIRECTIVE = re.compile(
    r"#[ \t]*(?P<word>\w*)(?P<rest>(?:[^\n\\/]|\\\r?\n|\\|/\*(?s:.*?\*/|.*)|/)*+)"
)
_NESTED = re.compile(r"/\*|\*/")


class Scan(NamedTuple):
    """What a text leaves open; offsets in characters."""

    open: tuple[int, ...]
    """Brackets that are never closed."""
    stray: int | None
    """The first closing bracket without an opening one."""
    quote: int | None
    """The first quote whose string is not closed on its line."""
    spanning: str | None
    """What is still open at the end of the text: `comment`, `string` or empty."""
    end: int
    """End of the last token that is not a comment."""
    directives: tuple[re.Match[str], ...]
    """The C++ preprocessor lines, with groups `word` and `rest`."""

    @property
    def is_balanced(self) -> bool:
        """Everything opened is closed, and nothing else."""
        return not self.open and self.stray is None and self.quote is None and self.spanning is None


def scan(text: str, language: str) -> Scan:
    """Scan `text` as `language`, one of the seven. Linear in the length of the text."""
    walk = Walk(text, language)
    walk.run(_SCANNERS[language], 0)
    brackets = tuple(offset for _, offset in walk.stack)
    return Scan(brackets, walk.stray, walk.quote, walk.spanning, walk.end(), tuple(walk.directives))


def without_comments(text: str, language: str) -> str:
    """`text` without the comments of `language`, one of the seven."""
    walk = Walk(text, language)
    walk.run(_SCANNERS[language], 0)
    kept, at = [], 0
    for start, end in walk.comments:
        kept.append(text[at:start])
        at = end
    return "".join((*kept, text[at:]))


def blocks(text: str, language: str) -> list[tuple[int, int]]:
    """Offsets at which each pair of braces opens and closes in JavaScript or TypeScript."""
    walk = _BlockWalk(text, language)
    walk.run(_EVERY_BRACKET, 0)
    return walk.blocks


class Walk:
    """State of a scan of `text` as `language`."""

    def __init__(self, text: str, language: str) -> None:
        self.text = text
        self.language = language
        self.is_script = language in ("javascript", "typescript")
        self.stack: list[tuple[str, int]] = []
        self.comments: list[tuple[int, int]] = []
        self.stray: int | None = None
        self.quote: int | None = None
        self.spanning: str | None = None
        self.directives: list[re.Match[str]] = []

    def run(self, pattern: re.Pattern[str], at: int) -> None:
        while (found := pattern.match(self.text, at)) is not None:
            kind = found.lastgroup
            assert kind is not None
            at = self.skip(kind, found[kind], found.start(kind), found.end())

    def skip(self, kind: str, value: str, start: int, end: int) -> int:
        """The offset to continue from after `value`, found from `start` to `end`."""
        if kind == "bracket":
            return self._bracket(value, start)
        if kind == "comment":
            self.comments.append((start, end))
        elif kind == "spanning":
            return self._spanning(value, start)
        elif kind == "quote":
            self.quote = start if self.quote is None else self.quote
            return _line_end(self.text, start)
        elif kind == "slash" and self.is_script:
            return self._slash(start)
        elif kind == "raw":
            return self._raw(value, end)
        elif value == "#" and self.language == "cpp" and self._begins_line(start):
            directive = _DIRECTIVE.match(self.text, start)
            assert directive is not None
            self.directives.append(directive)
            return directive.end()
        return end

    def _begins_line(self, start: int) -> bool:
        return not self.text[self.text.rfind("\n", 0, start) + 1 : start].strip()

    def _raw(self, opening: str, at: int) -> int:
        mark = opening.partition('"')
        closing = f'){mark[2][:-1]}"' if self.language == "cpp" else '"' + "#" * opening.count("#")
        end = self.text.find(closing, at)
        if end < 0:
            self.spanning = "string"
            return len(self.text)
        return end + len(closing)

    def _bracket(self, value: str, start: int) -> int:
        if value in "([{":
            self.stack.append((value, start))
        elif self.stack and self.stack[-1][0] == _PAIRS[value]:
            self.stack.pop()
        elif value == "}" and self.stack and self.stack[-1][0] == "${":
            self.stack.pop()
            return self._template(start + 1)
        elif self.stray is None:
            self.stray = start
        return start + 1

    def _spanning(self, value: str, start: int) -> int:
        if value == "/*" and self.language == "rust":
            return self._nested_comment(start)
        if value == "`" and self.is_script:
            return self._template(start + 1)
        self.spanning = "comment" if value == "/*" else "string"
        return len(self.text)

    def _nested_comment(self, start: int) -> int:
        depth = 0
        for found in _NESTED.finditer(self.text, start):
            depth += 1 if found.group() == "/*" else -1
            if depth == 0:
                self.comments.append((start, found.end()))
                return found.end()
        self.spanning = "comment"
        return len(self.text)

    def _template(self, start: int) -> int:
        found = _TEMPLATE.match(self.text, start)
        if found is None:
            self.spanning = "string"
            return len(self.text)
        if found.group(1) == "${":
            self.stack.append(("${", found.end() - 2))
        return found.end()

    def _slash(self, start: int) -> int:
        before = start
        while before and self.text[before - 1].isspace():
            before -= 1
        if not _REGEX_AFTER.match(self.text, before):
            return start + 1
        found = _REGEX.match(self.text, start, start + MAX_REGEX)
        return found.end() if found else start + 1

    def end(self) -> int:
        end = len(self.text.rstrip())
        for start, stop in reversed(self.comments):
            if stop < end:
                break
            end = len(self.text[:start].rstrip())
        return end


class _BlockWalk(Walk):
    """A scan that also records braces."""

    def __init__(self, text: str, language: str) -> None:
        super().__init__(text, language)
        self.blocks: list[tuple[int, int]] = []

    def _bracket(self, value: str, start: int) -> int:
        if value == "}" and self.stack and self.stack[-1][0] == "{":
            self.blocks.append((self.stack[-1][1], start))
        return super()._bracket(value, start)


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
