"""The words that give a language away, and its keywords."""

from __future__ import annotations

import re

# what a file in the language nearly always has and a file in the others seldom: it says which grammar is worth a try
_SIGNS = {
    "python": r"""^[ \t]*(?:async\ )?def\ \w+\( | ^[ \t]*(?:elif|except|class\ \w+|for|if|while)\b.*:[ \t]*$
        | ^(?:from\ [\w.]+\ )?import\ \w+[\w,\ .]*$""",
    "cpp": r"""^[ \t]*\#[ \t]*(?:include|pragma|define)\b | \bstd:: | ^[ \t]*(?:using\ )?namespace\ \w
        | ^[ \t]*template[ \t]*< | ^[ \t]*(?:int|void|bool|double|float|auto|char|long)\ \w+[ \t]*\(""",
    "rust": r"""\bfn\ \w | ^[ \t]*let\b | ^[ \t]*(?:pub\ )?(?:impl|trait|struct|enum|mod)\b | ^[ \t]*(?:pub\ )?use\ [\w:]
        | \w!\( | =>""",
    "go": r"^package\ \w+[ \t]*$ | ^func\b | :=",
    "java": r"""^[ \t]*(?:public|private|protected|final|abstract|static)\b.*[{;(] | ^import\ [\w.*]+; | ^package\ [\w.]+;
        | ^[ \t]*class\ \w""",
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

_C_LIKE = (
    "break case catch char class const continue default do double else enum false float for if int long new private "
)
_C_LIKE += "protected public return short static super switch this throw true try void volatile while "
_SCRIPT = "async await break case catch class const continue default delete do else export extends false finally for function "
_SCRIPT += (
    "if import in instanceof let new null of return static super switch this throw true try typeof undefined var void "
)
_SCRIPT += "while yield "
_KEYWORDS = {
    "python": "and as assert async await break class continue def del elif else except False finally for from global if "
    "import in is lambda None nonlocal not or pass raise return True try while with yield",
    "cpp": _C_LIKE
    + "auto bool constexpr delete explicit extern friend inline namespace nullptr operator signed sizeof struct "
    "template typedef typename union unsigned using virtual",
    "rust": "as async await break const continue crate else enum extern false fn for if impl in let loop match mod move mut "
    "pub ref return self static struct super trait true type union unsafe use where while",
    "go": "break case chan const continue default defer else error fallthrough false float64 for func go goto if import int "
    "interface map nil package range return select string struct switch true type var",
    "java": _C_LIKE + "abstract boolean byte extends final finally implements import interface null package record "
    "synchronized",
    "javascript": _SCRIPT + "debugger with",
    "typescript": _SCRIPT
    + "abstract any as boolean declare enum implements interface keyof namespace never number object "
    "private protected public readonly string type unknown",
}
KEYWORDS = {language: frozenset(words.split()) for language, words in _KEYWORDS.items()}


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
