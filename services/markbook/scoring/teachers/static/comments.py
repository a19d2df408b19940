"""Rates comments: about this task, in sentences, without repetition, and not too long for the
code.
"""

from __future__ import annotations

import re
from collections.abc import Set

_SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of to in is are be and or if for from with by as on at it its that this which "
        "each all no not",
    )
)
_FILLER = frozenset(
    re.findall(
        r"\w+", "function code method return returns python write good great simple efficient clean"
    )
)
_ENOUGH = 4  # distinct content words that suffice to describe a small function
_TOO_LONG = 60  # words


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.replace("_", " ").lower())


def prose_mark(text: str, about: Set[str]) -> float:
    """In [0, 1]. `about`: the words of the task and of the names in the code, lower case."""
    words = words_of(text)
    content = [word for word in words if word not in _SMALL_WORDS]
    telling = set(content) - _FILLER
    if not telling:
        return 0.0
    said = min(1.0, len(telling) / _ENOUGH)
    related = 1.0 if telling & about else 0.0
    # a list of keywords lacks function words, a text pasted twice has few distinct ones
    sentences = min(1.0, (len(words) - len(content)) / (0.15 * len(words)))
    once = min(1.0, len(set(content)) / len(content) / 0.6) ** 2
    brief = min(1.0, _TOO_LONG / len(words)) ** 2
    return said * related * sentences * once * brief
