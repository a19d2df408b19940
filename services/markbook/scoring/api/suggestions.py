"""Suggestions for an unknown name, as the end of an error message."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_LONGEST_NAME = 100
_MOST_NAMES = 20


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean X?` with the nearest of `known`, or all of them where none is near; empty
    if `known` is.
    """
    # a client may send a name of megabytes, and comparing takes the product of both lengths
    if found := difflib.get_close_matches(name[:_LONGEST_NAME].lower(), known, n=1, cutoff=0.5):
        return f"; did you mean {found[0]}?"
    shown = [*known][:_MOST_NAMES]
    more = f" and {len(known) - len(shown):,} more" if len(known) > len(shown) else ""
    return f"; known here: {', '.join(shown)}{more}" if shown else ""
