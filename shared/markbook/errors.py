"""The base of the errors whose message is meant for the user."""

from __future__ import annotations


class MarkbookError(Exception):
    """An error that the user can resolve.

    The message is one line with what to do; commands print it and exit.
    """
