"""Values that came out of a sandbox: whether they are plain data, whether they are equal, how a message shows them.

Equality is decided here, on copies that hold no code: an object whose `__eq__` always says yes has no say.
"""

from __future__ import annotations

from typing import Any

from pydantic_monty import MontyClassProxy, MontyClassTypeProxy, MontyStdTypeProxy

MAX_DEPTH = 200
"""Deeper values are refused: the interpreter's own comparison would run out of stack."""
SHOWN_CHARS = 200
"""Characters of a value in a message."""


class ForeignValueError(Exception):
    """A value is not plain data."""


def to_plain(value: Any, classes: frozenset[str], depth: int = 0) -> Any:
    """`value` where it is plain data all through; instances of `classes` become their attributes.

    Raises ForeignValueError for what holds anything else: its methods are the tested code's and may lie.
    """
    if depth > MAX_DEPTH:
        raise ForeignValueError(f"a value nested more than {MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        return type(value)([to_plain(each, classes, depth + 1) for each in value])
    if isinstance(value, dict):
        return {
            to_plain(key, classes, depth + 1): to_plain(each, classes, depth + 1)
            for key, each in value.items()  # a dict's subclass in the sandbox arrives as a dict
        }
    if isinstance(value, set | frozenset):
        for each in value:
            to_plain(each, classes, depth + 1)
        return value
    if isinstance(value, MontyClassProxy):
        if value.name not in classes:
            raise ForeignValueError(f"an object of class {value.name}, not plain data")
        return _Instance((value.name, to_plain(value.attributes, classes, depth + 1)))
    if isinstance(value, MontyClassTypeProxy | MontyStdTypeProxy):
        return ("type", value.name)
    return value


def equal(left: Any, right: Any, classes: frozenset[str]) -> bool:
    """Whether two values are equal as plain data. Raises ForeignValueError where one is not."""
    plain_left, plain_right = to_plain(left, classes), to_plain(right, classes)
    return bool(plain_left == plain_right)


def holds_instance(plain: Any) -> bool:
    """Whether what `to_plain` gave stands for an object, in itself or within."""
    if isinstance(plain, _Instance):
        return True
    if isinstance(plain, dict):
        return any(holds_instance(each) for pair in plain.items() for each in pair)
    return isinstance(plain, list | tuple) and any(holds_instance(each) for each in plain)


def shorten(text: str, limit: int = SHOWN_CHARS) -> str:
    """`text` on one line of at most `limit` characters."""
    line = " ".join(text[: 2 * limit].split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


class _Instance(tuple[str, Any]):
    """Class name and attributes of an object: equal to another such, never to a tuple that looks like it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Instance) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__
