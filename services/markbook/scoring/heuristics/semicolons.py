"""Automatic semicolon insertion at line ends, which JavaScript does and the grammars only do in
part.

One is inserted where the next line begins with what cannot continue the statement (ECMA-262,
12.10). The grammars take every line that begins with a bracket or an operator for the statement's
next part. That is so after most, but an arrow function with a block for its body can neither be
called nor indexed, and nothing can follow a declaration without a value, an import, an export,
`break`, `continue` or `debugger`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markbook.scoring.heuristics.lexing import blocks

LANGUAGES = frozenset({"javascript", "typescript"})

_GAP = re.compile(
    r"(?:[^\S\n]|//[^\n]*+|/\*(?s:.*?)\*/)*+\n(?:\s|//[^\n]*+|/\*(?s:.*?)\*/)*+(?=[\[(`/+*-])"
)
"""From the end of a statement to the token on a later line with which a grammar would continue
it.
"""
_ARROW_CHARS = 80
"""Characters before a block in which an arrow is searched."""
_NAMES = r"[\w$]++(?:\s*,\s*[\w$]++)*+"
_QUOTED = r"(?:'[^'\n]*+'|\"[^\"\n]*+\")"
_COMPLETE = re.compile(
    rf"""^[ \t]*+(?:export\s+)?(?:let|var)\s+{_NAMES}
       | (?<![.\w$])(?:debugger|(?:break|continue)(?:[ \t]++[\w$]++)?)
       | ^[ \t]*+import\b(?!\s*[(.])[^;'"`()]*+{_QUOTED}
       | ^[ \t]*+export\s*(?:\{{[^{{}}]*+\}}(?:\s*from\s*{_QUOTED})?|\*[^;'"`()]*+{_QUOTED})""",
    re.MULTILINE | re.VERBOSE,
)


def insert_semicolons(code: str, language: str) -> str:
    """`code` with the semicolons that the language inserts where a grammar would continue the
    statement.
    """
    places = sorted({end for end in _ends(code, language) if _GAP.match(code, end)})
    return ";".join(
        code[start:end] for start, end in zip([0, *places], [*places, len(code)], strict=True)
    )


def _ends(code: str, language: str) -> Iterator[int]:
    """Offsets of statement ends that no token can continue."""
    for opening, closing in blocks(code, language):
        if code[max(0, opening - _ARROW_CHARS) : opening].rstrip().endswith("=>"):
            yield closing + 1
    for found in _COMPLETE.finditer(code):
        yield found.end()
