"""Values returned by a sandbox: conversion to plain data, equality, and how messages show them.

Equality is decided here, on copies without code, so an object's own `__eq__` is never called.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from pydantic_monty import MontyClassProxy, MontyClassTypeProxy, MontyStdTypeProxy

MAX_DEPTH = 200
"""Deeper values are rejected: the interpreter's own comparison would run out of stack."""
SHOWN_CHARS = 200
"""Characters of a value in a message."""


MAX_VALUES = 1_000_000
"""Values within a value, counting repeated references each time: nested doubled lists grow
exponentially.
"""
_VIEWS = ("dict_items(", "dict_keys(", "dict_values(")
_HARMLESS = (
    *(
        "<bound method",
        "<built-in",
        "<class ",
        "<function ",
        "<module ",
        "<re.Match",
        "functools.partial(",
    ),
    *("range(", "re.compile(", "slice("),
)


class ForeignValueError(Exception):
    """A value is not plain data."""


class TooLargeError(Exception):
    """A value is too large to compare."""


class Kind(Enum):
    """Kinds of values returned by a sandbox in which `str` and the like never call the host."""

    DATA = auto()
    """Data, or an object of the tested code."""
    VIEW = auto()
    """A dict's keys, values or items; arrives as text."""
    ITERATOR = auto()
    """Yields its items once; arrives as text, like every value of an unknown kind."""
    HARMLESS = auto()
    """A function, a class, a range, …; arrives as text and contains no object with code of its
    own.
    """


def value_kind(value: Any) -> Kind:
    """The kind of `value`, for values that are not plain data such as strings."""
    if not isinstance(value, str):
        return Kind.DATA
    if value.startswith(_VIEWS):
        return Kind.VIEW
    return Kind.HARMLESS if value.startswith(_HARMLESS) else Kind.ITERATOR


def to_plain(value: Any, classes: frozenset[str]) -> Any:
    """`value` where it is plain data all through; instances of `classes` become their attributes.

    Raises ForeignValueError for what holds anything else: its methods are the tested code's and may
    lie. Raises TooLargeError.
    """
    return _Reader(classes).read(value, 0)


class _Reader:
    def __init__(self, classes: frozenset[str]) -> None:
        self._classes = classes
        self._left = MAX_VALUES

    def read(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise TooLargeError(f"a value that holds more than {MAX_VALUES:,} others")
        if depth > MAX_DEPTH:
            raise ForeignValueError(f"a value nested more than {MAX_DEPTH} deep")
        if isinstance(value, list | tuple | dict | set | frozenset):
            return self._read_items(value, depth + 1)
        if isinstance(value, MontyClassProxy):
            if value.name not in self._classes:
                raise ForeignValueError(f"an object of class {value.name}, not plain data")
            return _Instance((value.name, self.read(value.attributes, depth + 1)))
        if isinstance(value, MontyClassTypeProxy | MontyStdTypeProxy):
            return ("type", value.name)
        return value

    def _read_items(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):  # as a dict's subclass in the sandbox arrives, too
            return {self.read(key, depth): self.read(each, depth) for key, each in value.items()}
        items = [self.read(each, depth) for each in value]
        if isinstance(value, set | frozenset):
            return value
        return tuple(items) if isinstance(value, tuple) else items


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
    """Class name and attributes of an object: equal to another such, never to a tuple that looks
    like it.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Instance) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__
