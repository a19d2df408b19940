"""The process that holds the tested code: one child per test, which serves the requests of the
tests' process.
"""

from __future__ import annotations

import builtins
import json
import operator
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from markbook.scoring.execution.guest.seccomp import forbid_harm, hide_from_children
from markbook.scoring.execution.guest.serialization import (
    WireError,
    class_name,
    decode,
    encode,
    receive,
    send,
)

MAX_FILE = 2**20
MAX_FILES = 64
"""Open at a time: what they buffer, and files without a name, are memory that RLIMIT_AS does not
see.
"""
_ARGS: Any = BaseException.__dict__["args"]
OPERATIONS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in [
        "add",
        "and_",
        "contains",
        "delitem",
        "eq",
        "floordiv",
        "ge",
        "getitem",
        "gt",
        "invert",
        "le",
        "lshift",
        "lt",
        "matmul",
        "mod",
        "mul",
        "ne",
        "neg",
        "or_",
        "pos",
        "pow",
        "rshift",
        "setitem",
        "sub",
        "truediv",
        "truth",
        "xor",
    ]
} | {
    "len": len,
    "iter": iter,
    "next": next,
    "str": str,
    "repr": repr,
    "abs": abs,
    "round": round,
    "int": int,
    "float": float,
    "hash": hash,
    "getattr": getattr,
    "setattr": setattr,
    "isinstance": lambda kind, value: isinstance(value, kind),
    "call": lambda called, *args, **kwargs: called(*args, **kwargs),
    "vars": lambda value: dict(vars(value)),
}


class CodeServer:
    """Answers for one test, in a process of its own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._objects: list[Any] = []
        self._namespace: dict[str, Any] = {"__name__": "solution", "__builtins__": builtins}

    def load(self, code: str, setup: str) -> None:
        exec(compile(code, "solution.py", "exec"), self._namespace)
        try:
            exec(compile(setup, "setup.py", "exec"), self._namespace)
        except Exception as error:  # noqa: BLE001
            self.hand_over(
                error
            )  # not reported: the tests' process runs it too, and reports the error

    def serve(self) -> None:
        while (message := receive(self._stream)).get("ask") != "end":
            try:
                answer = self._answer(message)
            except WireError as error:
                answer = {"unfit": str(error)}
            except BaseException as error:  # noqa: BLE001
                answer = self.hand_over(error)
            send(self._stream, answer)

    def hand_over(self, error: BaseException) -> dict[str, Any]:
        """An exception for the tests' process.

        None of its own methods is called: they are the tested code's.
        """
        names = [class_name(kind) for kind in type.mro(type(error))]
        try:
            return {"raised": names, "args": self._encode(_ARGS.__get__(error))}
        except WireError:
            return {"raised": names, "args": None}

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["ask"] == "name":
            name = message["name"]
            if name not in self._namespace:
                return {"missing": True}
            return {"value": self._encode(self._namespace[name])}
        args = [self._decode(each) for each in message["args"]]
        kwargs = {key: self._decode(each) for key, each in message["kwargs"].items()}
        before = [self._encode(each) for each in args]
        value = OPERATIONS[message["operation"]](*args, **kwargs)
        answer = {"value": self._encode(value)}
        after = [self._encode(each) for each in args]
        if after != before:
            answer["args"] = after
        return answer

    def _encode(self, value: Any) -> Any:
        return encode(value, self._handle)

    def _handle(self, value: Any) -> Any:
        if issubclass(type(value), type) and BaseException in type.mro(value):
            return ["E", [class_name(kind) for kind in type.mro(value)]]
        index = next(
            (number for number, known in enumerate(self._objects) if known is value),
            len(self._objects),
        )
        if index == len(self._objects):
            self._objects.append(value)
        return ["o", index, class_name(type(value))]

    def _decode(self, message: Any) -> Any:
        return decode(message, self._object)

    def _object(self, message: Any) -> Any:
        if message[0] == "k":
            return lambda *args, **kwargs: self._call_back(message[1], args, kwargs)
        return self._objects[message[1]]

    def _call_back(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        coded = {key: self._encode(each) for key, each in kwargs.items()}
        send(
            self._stream,
            {"call": index, "args": [self._encode(each) for each in args], "kwargs": coded},
        )
        while (message := receive(self._stream)).get("ask"):
            send(self._stream, self._answer(message))
        if "raised" in message:
            raise getattr(builtins, message["raised"], RuntimeError)(message["text"])
        return self._decode(message["value"])


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    stream = socket.socket(fileno=int(sys.argv[2])).makefile("rwb")
    sys.setrecursionlimit(given["recursion_depth"])
    hide_from_children()
    send(stream, {"ready": True})
    while (message := receive(stream)).get("ask") == "start":
        child = os.fork()
        if child == 0:
            _child(stream, given, message["setup"])
        _wait(child, message["limit_s"])
        send(stream, {"ended": True})
    os._exit(0)


def _child(stream: Any, given: dict[str, Any], setup: str) -> None:
    for what, most in (
        (resource.RLIMIT_AS, given["memory_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_FILE),
        (resource.RLIMIT_NOFILE, MAX_FILES),
    ):
        resource.setrlimit(what, (most, most))
    forbid_harm()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    server = CodeServer(stream)
    try:
        server.load(given["code"], setup)
    except BaseException as error:  # noqa: BLE001
        send(stream, server.hand_over(error))
    else:
        send(stream, {"loaded": True})
        server.serve()
    finally:
        os._exit(0)


def _wait(child: int, limit_s: float) -> None:
    ends, pause_s = time.monotonic() + limit_s, 0.0005
    while time.monotonic() < ends:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
