"""Patterns that identify a language, and the keywords of the seven languages."""

from __future__ import annotations

import re

# what a file in the language nearly always has and a file in the others rarely: the grammar to try
_LINE_SIGNS = {
    "python": r"""[ \t]*(?:async\ )?def\ \w+\( | [ \t]*(?:elif|except|class\ \w+|for|if|while)\b.*:[ \t]*$
        | (?:from\ [\w.]+\ )?import\ \w+[\w,\ .]*$""",
    "cpp": r"""[ \t]*\#[ \t]*(?:include|pragma|define)\b | [ \t]*(?:using\ )?namespace\ \w | [ \t]*template[ \t]*<
        | [ \t]*(?:int|void|bool|double|float|auto|char|long)\ \w+[ \t]*\(""",
    "rust": r"[ \t]*(?:let\b|(?:pub\ )?(?:impl|trait|struct|enum|mod)\b|(?:pub\ )?use\ [\w:])",
    "go": r"package\ \w+[ \t]*$ | func\b",
    "java": r"""[ \t]*(?:public|private|protected|final|abstract|static)\b.*[;{(]
        | import\ [\w.*]+; | package\ [\w.]+; | [ \t]*class\ \w""",
    "typescript": r"""[ \t]*(?:export\ )?(?:default\ )?(?:async\ )?(?:const|let|var|function|class|interface|type)\b
        | import\ .*\ from\ """,
}
_LINE_PATTERNS = {
    language: re.compile(signs, re.VERBOSE) for language, signs in _LINE_SIGNS.items()
}
# signs that may stand anywhere, by a part of them that is fast to look for
_SIGNS: dict[str, dict[str, str]] = {
    "python": {},
    "cpp": {"std::": r"\bstd::"},
    "rust": {"fn ": r"\bfn \w", "!(": r"\w!\(", "=>": "=>"},
    "go": {":=": ":="},
    "java": {},
    "typescript": {"=>": "=>", "===": "===", "require(": r"\brequire\("},
}
_TYPED_SCRIPT = re.compile(
    r"""\b(?:interface|enum|namespace|declare|readonly|private|public|protected|implements|abstract)\ | \btype\ \w+.*=
    | [\w)\]?!]\s*:\s*[\w{(\[]+ | \bas\ \w | \w!\. | \w<\w""",
    re.VERBOSE,
)
_READ = 2000  # characters: a language shows itself at once

_KEYWORDS = """
abstract and any assert async await auto bool boolean break byte case catch chan char class const constexpr continue
crate debugger declare def default defer del delete do double elif else enum except explicit export extends extern
fallthrough false False final finally float for friend from func function global go goto if implements import in inline
instanceof int interface is keyof lambda let long loop map match mod move mut namespace never new nil None nonlocal not
null nullptr number object of operator or package pass private protected pub public raise range readonly record ref
return self short signed sizeof static string struct super switch synchronized template this throw throws trait true
True try type typedef typename typeof undefined union unknown unsafe unsigned use using var virtual void volatile where
while with yield
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""Words of the seven languages that have a meaning without a declaration."""


def likely_languages(text: str, language: str) -> list[str]:
    """At most two other languages that the text resembles at least as much as `language`.

    JavaScript is never among them: what reads as JavaScript reads as TypeScript.
    """
    opening = text[:_READ]
    lines = [line for line in opening.split("\n") if line]
    counts = {
        name: sum(map(bool, map(pattern.match, lines))) for name, pattern in _LINE_PATTERNS.items()
    }
    for name, signs in _SIGNS.items():
        counts[name] += sum(
            len(re.findall(sign, opening)) for part, sign in signs.items() if part in opening
        )
    declared = "typescript" if language == "javascript" else language
    own = max(counts[declared], 1)
    if language != "javascript" or not _TYPED_SCRIPT.search(text, 0, _READ):
        counts[declared] = 0
    return sorted(
        (name for name, count in counts.items() if count >= own), key=lambda name: -counts[name]
    )[:2]
