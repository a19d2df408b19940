"""The words that give a language away, and the keywords."""

from __future__ import annotations

import re

# what a file in the language nearly always has and a file in the others seldom: it says which grammar is worth a try
_SIGNS = {
    "python": r"""^[ \t]*(?:async\ )?def\ \w+\( | ^[ \t]*(?:elif|except|class\ \w+|for|if|while)\b.*:[ \t]*$
        | ^(?:from\ [\w.]+\ )?import\ \w+[\w,\ .]*$""",
    "cpp": r"""^[ \t]*\#[ \t]*(?:include|pragma|define)\b | \bstd:: | ^[ \t]*(?:using\ )?namespace\ \w
        | ^[ \t]*template[ \t]*< | ^[ \t]*(?:int|void|bool|double|float|auto|char|long)\ \w+[ \t]*\(""",
    "rust": r"""\bfn\ \w | ^[ \t]*let\b
        | ^[ \t]*(?:pub\ )?(?:impl|trait|struct|enum|mod)\b | ^[ \t]*(?:pub\ )?use\ [\w:]
        | \w!\( | =>""",
    "go": r"^package\ \w+[ \t]*$ | ^func\b | :=",
    "java": r"""^[ \t]*(?:public|private|protected|final|abstract|static)\b.*[{;(]
        | ^import\ [\w.*]+; | ^package\ [\w.]+; | ^[ \t]*class\ \w""",
    "typescript": r"""^[ \t]*(?:export\ )?(?:default\ )?(?:async\ )?(?:const|let|var|function|class|interface|type)\b
        | => | === | \brequire\( | ^import\ .*\ from\ """,
}
_SIGN_PATTERNS = {language: re.compile(signs, re.MULTILINE | re.VERBOSE) for language, signs in _SIGNS.items()}
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
"""The words of the seven languages that mean something without being declared."""


def likely_languages(text: str, language: str) -> list[str]:
    """At most two other languages whose signs the text bears at least as often as those of `language`.

    JavaScript is never among them: what reads as JavaScript reads as TypeScript.
    """
    counts = {name: len(pattern.findall(text, 0, _READ)) for name, pattern in _SIGN_PATTERNS.items()}
    declared = "typescript" if language == "javascript" else language
    own = max(counts[declared], 1)
    if language != "javascript" or not _TYPED_SCRIPT.search(text, 0, _READ):
        counts[declared] = 0
    return sorted((name for name, count in counts.items() if count >= own), key=lambda name: -counts[name])[:2]
