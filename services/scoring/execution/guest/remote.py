"""The subject as the judge sees it: names, calls, and handles on what is no plain data."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from typing import Any

from services.scoring.execution.guest.wire import WireError, decode, encode, receive, send

FREE = frozenset(
    [
        "call",
        "getattr",
        "setattr",
        "getitem",
        "setitem",
        "delitem",
        "iter",
        "next",
        "len",
        "str",
        "repr",
        "isinstance",
        "vars",
    ]
)
"""What any object of the tested code may be asked: nothing here tells it what the test expects."""


class NotPlainError(BaseException):
    """An object of the tested code stands where it could answer for itself."""


class EndedError(BaseException):
    """The subject's process is gone."""

    timed_out = False


class Link:
    """The way to the subject, one test after the other. `classes`: those whose objects may answer for themselves."""

    def __init__(self, stream: Any, classes: frozenset[str], test_s: float) -> None:
        self._stream = stream
        self._classes = classes
        self._test_s = test_s
        self._running = False
        self._ends = 0.0
        self._callbacks: list[Callable[..., Any]] = []
        self._exceptions: dict[str, type[BaseException]] = {}

    def start(self) -> None:
        send(self._stream, {"ask": "start"})
        self._running = True
        self._ends = time.monotonic() + self._test_s
        self._callbacks, self._exceptions = [], {}
        self._result(self._receive())

    def end(self) -> None:
        """Let the subject's process go, and wait until it is gone."""
        if self._running:
            try:
                send(self._stream, {"ask": "end"})
                while not receive(self._stream).get("ended"):
                    continue
            except (OSError, WireError, ValueError, AttributeError):
                self._running = False
        self._running = False

    def finish(self) -> None:
        self._stream.close()

    def name(self, name: str) -> Any:
        send(self._stream, {"ask": "name", "name": name})
        answer = self._receive()
        if answer.get("missing"):
            raise NameError(f"name {name!r} is not defined")
        return self._result(answer)

    def ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """An operation on the subject's side. Containers among `args` that it changes there are changed here."""
        first = args[0]
        if operation not in FREE and isinstance(first, Handle) and first._handle_class not in self._classes:
            raise NotPlainError(f"an object of class {first._handle_class}, not plain data")
        coded = {key: self._encode(each) for key, each in kwargs.items()}
        message = {"ask": "do", "operation": operation, "args": [self._encode(each) for each in args], "kwargs": coded}
        send(self._stream, message)
        answer = self._receive()
        value = self._result(answer)
        for mine, theirs in zip(args, answer.get("args") or (), strict=False):
            _update(mine, decode(theirs, self._object))
        return value

    def _receive(self) -> dict[str, Any]:
        """The answer to what was asked; calls back to functions of the test are served meanwhile."""
        while True:
            answer = receive(self._stream)
            if not isinstance(answer, dict):
                raise WireError("an answer that is none")
            if answer.get("ended"):
                self._running = False
                ended = EndedError("the tested code ended its process")
                if time.monotonic() >= self._ends:
                    ended = EndedError(f"not done after {self._test_s:g} s")
                    ended.timed_out = True
                raise ended
            if "call" not in answer:
                return answer
            self._serve(answer)

    def _serve(self, asked: dict[str, Any]) -> None:
        try:
            args = [decode(each, self._object) for each in asked["args"]]
            kwargs = {str(key): decode(each, self._object) for key, each in asked["kwargs"].items()}
            value = self._callbacks[asked["call"]](*args, **kwargs)
            send(self._stream, {"value": self._encode(value)})
        except Exception as error:  # noqa: BLE001
            self._hand_over(error)

    def _hand_over(self, error: Exception) -> None:
        """A test's own function raised: in the subject, which called it."""
        send(self._stream, {"raised": type(error).__name__, "text": str(error)[:300]})

    def _result(self, answer: dict[str, Any]) -> Any:
        if "unfit" in answer:
            raise WireError(str(answer["unfit"])[:300])
        if "raised" in answer:
            raise self._exception(answer)
        return decode(answer.get("value"), self._object)

    def _exception(self, answer: dict[str, Any]) -> BaseException:
        kind = self._exception_class([str(name) for name in answer["raised"]])
        args = answer.get("args")
        try:
            return kind(*(decode(args, self._object) if args is not None else ()))
        except TypeError:  # such as UnicodeError, which wants arguments of its own
            return RuntimeError(f"{kind.__name__}: {args}"[:300])

    def _exception_class(self, names: list[str]) -> type[BaseException]:
        first = names[0] if names else "RuntimeError"
        if first in self._exceptions:
            return self._exceptions[first]
        builtin = getattr(builtins, first, None)
        if isinstance(builtin, type) and issubclass(builtin, BaseException):
            return builtin
        parent = self._exception_class(names[1:]) if len(names) > 1 else Exception
        self._exceptions[first] = type(first, (parent,), {})
        return self._exceptions[first]

    def _encode(self, value: Any) -> Any:
        return encode(value, self._handle)

    def _handle(self, value: Any) -> Any:
        if isinstance(value, Handle):
            return ["o", value._handle_index]
        if isinstance(value, type) and value.__name__ in self._exceptions:
            raise WireError("an exception's class as an argument")
        if callable(value):
            self._callbacks.append(value)
            return ["k", len(self._callbacks) - 1]
        if hasattr(value, "__iter__"):
            return encode(list(value), self._handle)
        raise WireError(f"an argument of type {type(value).__name__}")

    def _object(self, message: Any) -> Any:
        if message[0] == "E":
            return self._exception_class([str(name) for name in message[1]])
        if message[0] != "o":
            raise WireError("a value that is none")
        return Handle(self, int(message[1]), str(message[2]))


class Handle:
    """An object of the subject. Its operations happen there."""

    def __init__(self, link: Link, index: int, class_name: str) -> None:
        self.__dict__.update(_handle_link=link, _handle_index=index, _handle_class=class_name)

    def __getattr__(self, name: str) -> Any:
        return self._handle_link.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._handle_link.ask("setattr", self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            if self._handle_class in self._handle_link._classes:
                raise NotPlainError(f"an object of class {self._handle_class}, not plain data")
            return False
        if self._handle_index == other._handle_index:
            return True
        if self._handle_class != other._handle_class or self._handle_class not in self._handle_link._classes:
            return False
        if self._handle_link.ask("eq", self, other) is not True:
            return False
        mine, theirs = self._handle_link.ask("vars", self), self._handle_link.ask("vars", other)
        return bool(mine == theirs)

    def __ne__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            raise NotPlainError(f"an object of class {self._handle_class}, not plain data")
        return not self == other

    def __hash__(self) -> int:
        return hash(self._handle_index)

    def __instancecheck__(self, value: Any) -> bool:
        return bool(self._handle_link.ask("isinstance", self, value))

    def __bool__(self) -> bool:
        return bool(self._handle_link.ask("truth", self))

    def __contains__(self, item: Any) -> bool:
        return bool(self._handle_link.ask("contains", self, item))


def _forward(operation: str) -> Callable[..., Any]:
    def ask(self: Handle, *args: Any, **kwargs: Any) -> Any:
        return self._handle_link.ask(operation, self, *args, **kwargs)

    return ask


def _computed(operation: str) -> Callable[..., Any]:
    """Arithmetic with plain data must not give plain data: the object would have been told what is expected."""

    def ask(self: Handle, other: Any) -> Any:
        value = self._handle_link.ask(operation, self, other)
        if not isinstance(other, Handle) and not isinstance(value, Handle):
            raise NotPlainError(f"an object of class {self._handle_class}, not plain data")
        return value

    return ask


def _compared(operation: str) -> Callable[..., Any]:
    def ask(self: Handle, other: Any) -> Any:
        if not isinstance(other, Handle):
            raise NotPlainError(f"an object of class {self._handle_class}, not plain data")
        return self._handle_link.ask(operation, self, other)

    return ask


def _swapped(operation: str) -> Callable[..., Any]:
    def ask(self: Handle, other: Any) -> Any:
        if self._handle_class not in self._handle_link._classes:
            raise NotPlainError(f"an object of class {self._handle_class}, not plain data")
        value = self._handle_link.ask(operation, other, self)
        if not isinstance(value, Handle):
            raise NotPlainError(f"an object of class {self._handle_class}, not plain data")
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
    "str",
    "repr",
    "abs",
    "round",
    "int",
    "float",
    "neg",
    "pos",
    "invert",
]:
    setattr(Handle, f"__{_name}__", _forward(_name))
for _name in ["lt", "le", "gt", "ge"]:
    setattr(Handle, f"__{_name}__", _compared(_name))
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
    setattr(Handle, f"__{_name.rstrip('_')}__", _computed(_name))
    setattr(Handle, f"__r{_name.rstrip('_')}__", _swapped(_name))


def _update(mine: Any, theirs: Any) -> None:
    """Make `mine` what the subject made of its copy, in place and as deep as it goes."""
    if isinstance(mine, list) and isinstance(theirs, list):
        same = len(mine) == len(theirs)
        for index, (old, new) in enumerate(zip(mine, theirs, strict=False)):
            if same and isinstance(old, list | dict | set) and type(old) is type(new):
                _update(old, new)
                theirs[index] = old
        mine[:] = theirs
    elif isinstance(mine, dict) and isinstance(theirs, dict):
        for key in mine.keys() & theirs.keys():
            if isinstance(mine[key], list | dict | set) and type(mine[key]) is type(theirs[key]):
                _update(mine[key], theirs[key])
                theirs[key] = mine[key]
        mine.clear()
        mine.update(theirs)
    elif isinstance(mine, set) and isinstance(theirs, set):
        mine.clear()
        mine.update(theirs)
