"""Foreign text on a terminal: what a student, a teacher or a server wrote may hold anything a
terminal obeys.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with what would not be seen, would move the cursor, or would reorder what is read, as
    escapes.

    Line feeds and tabs stay as they are.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )
