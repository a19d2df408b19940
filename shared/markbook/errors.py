"""The base of the errors whose message is meant for the user."""

from __future__ import annotations


class MarkbookError(Exception):
    """Something that the user can mend. The message is one line that says what to do; commands print it and exit."""
