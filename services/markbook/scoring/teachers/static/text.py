"""The four criteria for languages without a parser here: counted in the text, so coarser than
the marks for Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markbook.scoring.teachers.static.comments import prose_mark, words_of
from markbook.scoring.teachers.static.findings import Finding, marked, product
from markbook.scoring.teachers.static.task import TaskRequirements
from markbook.scoring.types import Judgment

_HASH = frozenset(
    {"python", "ruby", "bash", "shell", "sh", "perl", "r", "julia", "elixir", "powershell"}
)
_DASHES = frozenset({"sql", "lua", "haskell", "elm", "ada"})
_QUOTES_ARE_CHARACTERS = frozenset(
    {"c", "cpp", "rust", "go", "java", "csharp", "c#", "kotlin", "swift", "haskell"}
)
_LAST_VALUE = frozenset({"rust", "ruby", "scala", "haskell", "elixir", "julia", "r", "kotlin"})
"""Languages in which a function may give its last value without a `return`."""

_WORK = re.compile(r"[-+*/%<>&|!]=?|==|\b\w+\s*[(\[]")
_PRINT = re.compile(
    r"\b(?:print\w*!?|puts|console\.log|println!|cout|System\.out|fmt\.Print\w*|echo)\b"
)
_LOOP = re.compile(r"\b(?:for|while|loop|foreach)\b")
_LINE = 100  # characters
_LINES = 40
_DEPTH = 5  # brackets inside each other


def mark_text(code: str, asked: TaskRequirements, language: str) -> Judgment:
    body, comments = _split(code, language)
    reasons = [f"counted in the text: no syntax tree for {language} here"]
    defined = (
        re.search(rf"\b{re.escape(asked.name)}\b", body)
        if asked.name
        else re.search(r"\w+\s*\(", body)
    )
    if not defined:
        reasons.append(f"defines no {asked.name or 'function'}")
    inside = body[defined.end() :] if defined else body
    unused = [
        name for name in asked.parameters if len(re.findall(rf"\b{re.escape(name)}\b", inside)) < 2
    ]
    if unused:
        reasons.append(f"does not use {', '.join(unused)}")
    work = min(1.0, len(_WORK.findall(inside.partition("{")[2] or inside)) / 2)
    used = 1 - len(unused) / len(asked.parameters) if asked.parameters else 1.0
    answers = (
        language in _LAST_VALUE
        or not asked.returns
        or re.search(r"\breturn\b\s*[^\s;}]|=>", inside)
    )
    if not answers:
        reasons.append("returns nothing")
    marks = {
        "correctness": 0.5 * bool(defined) + 0.5 * bool(answers),
        "code_quality": product(_untidy(body, asked), reasons),
        "efficiency": product(((0.85, "many loops") for _ in _LOOP.findall(body)[2:]), reasons),
        "documentation": prose_mark(comments, asked.words.union(words_of(body))),
    }
    substance = 0.05 + 0.95 * used * work
    return marked({name: mark * substance for name, mark in marks.items()}, reasons)


def _split(code: str, language: str) -> tuple[str, str]:
    """The code without its comments and with empty strings, and the text of the comments."""
    comment = r"//[^\n]*|/\*.*?(?:\*/|\Z)"
    if language in _HASH or language in _DASHES:
        comment = r"\#[^\n]*" if language in _HASH else r"--[^\n]*"
    single = (
        r"'(?:\\[^\n]{1,8}?|[^'\\\n])'"
        if language in _QUOTES_ARE_CHARACTERS
        else r"'(?:\\.|[^'\\\n])*+(?:'|\n|\\?\Z)"
    )
    # a string that is never closed runs to the end, so that no text is read twice
    pattern = re.compile(
        rf'("(?:\\.|[^"\\])*+(?:"|\\?\Z)|{single}|`[^`]*+(?:`|\Z))|({comment})', re.DOTALL
    )
    comments = "\n".join(found[2] for found in pattern.finditer(code) if found[2])
    return pattern.sub(lambda found: '""' if found[1] else " ", code), comments


def _untidy(body: str, asked: TaskRequirements) -> Iterator[Finding]:
    lines = body.splitlines()
    if asked.returns:
        yield from ((0.8, "prints beside returning") for _ in _PRINT.findall(body))
    yield from (
        (0.9, f"a line is longer than {_LINE} characters") for line in lines if len(line) > _LINE
    )
    if len(lines) > _LINES:
        yield _LINES / len(lines), f"longer than {_LINES} lines"
    depth = deepest = 0
    for bracket in re.findall(r"[(\[{}\])]", body):
        depth += 1 if bracket in "([{" else -1
        deepest = max(deepest, depth)
    if deepest > _DEPTH:
        yield 0.85 ** (deepest - _DEPTH), f"brackets nested deeper than {_DEPTH}"
