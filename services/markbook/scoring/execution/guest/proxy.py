"""A proxy, in the tests' process, of an object of the tested code that is not plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from markbook.scoring.execution.guest.name_resolution import PREDICATES


class NotPlainError(BaseException):
    """An object of the tested code is used where it could decide the verdict itself."""


_quiet = [False]


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, objects are shown by their class only: their own texts come from the tested
    code.
    """
    _quiet[0] = True
    try:
        yield
    finally:
        _quiet[0] = False


class Proxy:
    """A proxy of an object in the code process, which executes its operations."""

    def __init__(self, connection: Any, index: int, class_name: str) -> None:
        self.__dict__.update(
            _proxy_connection=connection, _proxy_index=index, _proxy_class=class_name
        )

    def __getattr__(self, name: str) -> Any:
        if name in PREDICATES and self._proxy_class not in self._proxy_connection._classes:
            raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
        return self._proxy_connection.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._proxy_connection.ask("setattr", self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            if self._proxy_class in self._proxy_connection._classes:
                raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
            return False
        if self._proxy_index == other._proxy_index:
            return True
        if (
            self._proxy_class != other._proxy_class
            or self._proxy_class not in self._proxy_connection._classes
        ):
            return False
        # before the comparison, which may change them
        mine, theirs = (
            self._proxy_connection.ask("vars", self),
            self._proxy_connection.ask("vars", other),
        )
        return self._proxy_connection.ask("eq", self, other) is True and bool(mine == theirs)

    def __ne__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
        return not self == other

    def __repr__(self) -> str:
        if _quiet[0] or not self._proxy_connection.running:
            return f"an object of class {self._proxy_class}"
        return str(self._proxy_connection.ask("repr", self))

    def __str__(self) -> str:
        if _quiet[0] or not self._proxy_connection.running:
            return repr(self)
        return str(self._proxy_connection.ask("str", self))

    def __hash__(self) -> int:
        return hash(self._proxy_index)

    def __instancecheck__(self, value: Any) -> bool:
        return bool(self._proxy_connection.ask("isinstance", self, value))

    def __bool__(self) -> bool:
        return bool(self._proxy_connection.ask("truth", self))

    def __contains__(self, item: Any) -> bool:
        return bool(self._proxy_connection.ask("contains", self, item))


def _forward(operation: str) -> Callable[..., Any]:
    def ask(self: Proxy, *args: Any, **kwargs: Any) -> Any:
        return self._proxy_connection.ask(operation, self, *args, **kwargs)

    return ask


def _computed(operation: str) -> Callable[..., Any]:
    """Arithmetic with plain data must not give plain data: the object would have learned what is
    expected.
    """

    def ask(self: Proxy, other: Any) -> Any:
        value = self._proxy_connection.ask(operation, self, other)
        if not isinstance(other, Proxy) and not isinstance(value, Proxy):
            raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
        return value

    return ask


def _compared(operation: str) -> Callable[..., Any]:
    def ask(self: Proxy, other: Any) -> Any:
        if not isinstance(other, Proxy):
            raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
        return self._proxy_connection.ask(operation, self, other)

    return ask


def _swapped(operation: str) -> Callable[..., Any]:
    def ask(self: Proxy, other: Any) -> Any:
        if self._proxy_class not in self._proxy_connection._classes:
            raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
        value = self._proxy_connection.ask(operation, other, self)
        if not isinstance(value, Proxy):
            raise NotPlainError(f"an object of class {self._proxy_class}, not plain data")
        return value

    return ask


for _name in [
    "call",
    "getitem",
    "setitem",
    "delitem",
    "iter",
    "next",
    "len",
    "abs",
    "round",
    "int",
    "float",
    "neg",
    "pos",
    "invert",
]:
    setattr(Proxy, f"__{_name}__", _forward(_name))
for _name in ["lt", "le", "gt", "ge"]:
    setattr(Proxy, f"__{_name}__", _compared(_name))
for _name in [
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "or_",
    "xor",
]:
    setattr(Proxy, f"__{_name.rstrip('_')}__", _computed(_name))
    setattr(Proxy, f"__r{_name.rstrip('_')}__", _swapped(_name))
