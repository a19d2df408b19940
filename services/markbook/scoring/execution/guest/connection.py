"""The connection from the tests' process to the code process: names, calls, and proxies of what
is no plain data.
"""

from __future__ import annotations

import builtins
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from markbook.scoring.execution.guest.proxy import NotPlainError, Proxy
from markbook.scoring.execution.guest.serialization import WireError, decode, encode, receive, send

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
"""Operations allowed on any object of the tested code: none of them reveals what the test
expects.
"""


class UnfitError(BaseException):
    """A test passes an argument that cannot be sent to the tested code: not a fault of the code."""


class EndedError(BaseException):
    """The code process is gone."""

    timed_out = False


class Connection:
    """The code process as tests see it, one test after the other.

    `classes`: those whose objects may answer for themselves; `setup`: what of the setup the tested
    code may see.
    """

    def __init__(self, stream: Any, classes: frozenset[str], setup: str) -> None:
        self._stream = stream
        self._classes = classes
        self._setup = setup
        self._limit_s = 0.0
        self.running = False
        self.broken = False
        """The code process is gone or no longer answers: no test can be run."""
        self.timed_out = False
        """It did not answer in time."""
        self._ends = 0.0
        self._callbacks: list[Callable[..., Any]] = []
        self._exceptions: dict[str, type[BaseException]] = {}

    def open(self) -> None:
        """Wait until the code process is ready."""
        if not receive(self._stream).get("ready"):
            raise WireError("the code process does not start")

    def start(self, limit_s: float) -> None:
        """A fresh process of the tested code, which ends after `limit_s` seconds."""
        self._limit_s = limit_s
        send(self._stream, {"ask": "start", "setup": self._setup, "limit_s": limit_s})
        self.running = True
        self._ends = time.monotonic() + limit_s
        self._callbacks, self._exceptions = [], {}
        self._result(self._receive())

    def end(self) -> None:
        """End the process of this test's code and wait until it has ended."""
        if self.running:
            try:
                send(self._stream, {"ask": "end"})
                while not receive(self._stream).get("ended"):
                    continue
            except TimeoutError:
                self.broken = self.timed_out = True
            except (OSError, WireError, ValueError, AttributeError, MemoryError, RecursionError):
                self.broken = True
        self.running = False

    def finish(self) -> None:
        self._stream.close()

    def name(self, name: str) -> Any:
        send(self._stream, {"ask": "name", "name": name})
        answer = self._receive()
        if answer.get("missing"):
            raise NameError(f"name {name!r} is not defined")
        return self._result(answer)

    def ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """An operation in the code process.

        Containers among `args` that it changes there are changed here.
        """
        first = args[0]
        if (
            operation not in FREE
            and isinstance(first, Proxy)
            and first._proxy_class not in self._classes
        ):
            raise NotPlainError(f"an object of class {first._proxy_class}, not plain data")
        coded = {key: self._encode(each) for key, each in kwargs.items()}
        message = {
            "ask": "do",
            "operation": operation,
            "args": [self._encode(each) for each in args],
            "kwargs": coded,
        }
        send(self._stream, message)
        answer = self._receive()
        value = self._result(answer)
        for mine, theirs in zip(args, answer.get("args") or (), strict=False):
            _update(mine, decode(theirs, self._object))
        return value

    def _receive(self) -> dict[str, Any]:
        """The answer to the request; calls back to functions of the test are served meanwhile."""
        while True:
            try:
                answer = receive(self._stream)
            except TimeoutError as error:
                self.timed_out = True
                raise self._ended(timed_out=True) from error
            if not isinstance(answer, dict):
                raise WireError("an invalid answer")
            if answer.get("ended"):
                self.running = False
                raise self._ended(timed_out=time.monotonic() >= self._ends)
            if "call" not in answer:
                return answer
            self._serve(answer)

    def _ended(self, *, timed_out: bool) -> EndedError:
        text = (
            f"not done after {self._limit_s:.3g} s"
            if timed_out
            else "the tested code ended its process"
        )
        ended = EndedError(text)
        ended.timed_out = timed_out
        return ended

    def _serve(self, asked: dict[str, Any]) -> None:
        try:
            args = [decode(each, self._object) for each in asked["args"]]
            kwargs = {str(key): decode(each, self._object) for key, each in asked["kwargs"].items()}
            value = self._callbacks[asked["call"]](*args, **kwargs)
            send(self._stream, {"value": self._encode(value)})
        except Exception as error:  # noqa: BLE001
            self._hand_over(error)

    def _hand_over(self, error: Exception) -> None:
        """A test's own function raised: in the code process, which called it."""
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
        if isinstance(value, Proxy):
            return ["o", value._proxy_index]
        if isinstance(value, type) and value.__name__ in self._exceptions:
            raise UnfitError("an exception's class as an argument")
        if callable(value):
            self._callbacks.append(value)
            return ["k", len(self._callbacks) - 1]
        if hasattr(value, "__iter__"):
            return encode(list(value), self._handle)
        raise UnfitError(f"an argument of type {type(value).__name__}")

    def _object(self, message: Any) -> Any:
        if message[0] == "E":
            return self._exception_class([str(name) for name in message[1]])
        if message[0] != "o":
            raise WireError("an invalid value")
        return Proxy(self, int(message[1]), str(message[2]))


def _update(mine: Any, theirs: Any) -> None:
    """Make `mine` what the tested code made of its copy, in place and as deep as it goes."""
    for kind in (list, dict, set, deque):
        if isinstance(mine, kind) and isinstance(theirs, kind):
            _UPDATES[kind](mine, theirs)
            return


def _update_list(mine: list[Any], theirs: list[Any]) -> None:
    if len(mine) == len(theirs):
        for index, (old, new) in enumerate(zip(mine, theirs, strict=True)):
            theirs[index] = _kept(old, new)
    mine[:] = theirs


def _update_dict(mine: dict[Any, Any], theirs: dict[Any, Any]) -> None:
    for key in mine.keys() & theirs.keys():
        theirs[key] = _kept(mine[key], theirs[key])
    mine.clear()
    mine.update(theirs)


def _kept(old: Any, new: Any) -> Any:
    """`old`, updated, where both are containers of one type, as others may refer to it; else
    `new`.
    """
    if isinstance(old, list | dict | set) and type(old) is type(new):
        _update(old, new)
        return old
    return new


def _update_set(mine: set[Any], theirs: set[Any]) -> None:
    mine.clear()
    mine.update(theirs)


def _update_deque(mine: deque[Any], theirs: deque[Any]) -> None:
    mine.clear()
    mine.extend(theirs)


_UPDATES: dict[type, Callable[[Any, Any], None]] = {
    list: _update_list,
    dict: _update_dict,
    set: _update_set,
    deque: _update_deque,
}
