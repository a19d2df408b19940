"""The process that holds the tests: runs each against the code process and writes its verdict to
the host.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import operator
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from types import CodeType
from typing import Any, TextIO

from markbook.scoring.execution.guest.connection import Connection, EndedError, UnfitError
from markbook.scoring.execution.guest.name_resolution import (
    MODULES,
    UNREADABLE,
    class_names,
    shown_setup,
    tested_builtins,
)
from markbook.scoring.execution.guest.proxy import NotPlainError, Proxy, quiet
from markbook.scoring.execution.guest.serialization import WireError

OPERATORS: dict[str, tuple[str, Any]] = {
    "Eq": ("==", operator.eq),
    "NotEq": ("!=", operator.ne),
    "Lt": ("<", operator.lt),
    "LtE": ("<=", operator.le),
    "Gt": (">", operator.gt),
    "GtE": (">=", operator.ge),
    "In": ("in", lambda left, right: left in right),
    "NotIn": ("not in", lambda left, right: left not in right),
    "Is": ("is", operator.is_),
    "IsNot": ("is not", operator.is_not),
}
SHOWN = 300
START_S = 10.0
"""Seconds that the code process may take to start."""
REPLY_GRACE_S = 1.0
"""Seconds above a test's own that an answer of the code process may take."""
CHECK = "check of an assert"  # no name that a test can have


class Wrong(BaseException):
    """A failed assert."""


class Namespace(dict[str, Any]):
    """A test's globals: its own names, builtins and modules first, then what the tested code
    defines.
    """

    def __init__(self, connection: Connection, own: frozenset[str]) -> None:
        super().__init__({"__name__": "tests", "__builtins__": builtins, CHECK: _check})
        self._connection = connection
        self._own = own

    def __missing__(self, name: str) -> Any:
        if name not in self._own:
            if hasattr(builtins, name):
                return getattr(builtins, name)
            if name in MODULES:
                return importlib.import_module(name)
        value = self._connection.name(name)
        if isinstance(value, Proxy | type):
            self[name] = value
        return value


def _check(name: str, left: Any, right: Any) -> None:
    text, compare = OPERATORS[name]
    if compare(left, right):
        return
    if name == "Eq":
        raise Wrong(f"expected {_shown(right)}, got {_shown(left)}")
    raise Wrong(f"not true: {_shown(left)} {text} {_shown(right)}")


def _shown(value: Any) -> str:
    try:
        with quiet():
            return repr(value)[:SHOWN]
    except (ValueError, RecursionError, MemoryError):
        return "a value that is too large to be shown"


class _Asserts(ast.NodeTransformer):
    """Rewrites asserts so that a failed comparison shows its operands."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            name = ast.Constant(type(test.ops[0]).__name__)
            call = ast.Call(ast.Name(CHECK, ast.Load()), [name, test.left, test.comparators[0]], [])
            return ast.copy_location(ast.Expr(call), node)
        node.msg = None
        return node


def run_test(
    connection: Connection, setup: CodeType, test: CodeType, own: frozenset[str], limit_s: float
) -> tuple[str, str]:
    """The verdict on one test, with its reason."""
    try:
        connection.start(limit_s)
        namespace = Namespace(connection, own)
        for part in (setup, test):
            exec(part, namespace)
    except Wrong as error:
        return "failed", str(error)
    except (NotPlainError, WireError) as error:
        return "failed", f"got {error}"
    except UnfitError as error:
        return "cannot_run", str(error)
    except EndedError as error:
        return ("timed_out" if error.timed_out else "failed"), str(error)
    except MemoryError as error:
        return "out_of_memory", f"MemoryError: {error}"
    except BaseException as error:  # noqa: BLE001
        connection.end()  # describing the error must not call the tested code
        return hand_over(error)
    finally:
        connection.end()
    return "passed", ""


def hand_over(error: BaseException) -> tuple[str, str]:
    """What the test or the tested code raised, for the host.

    Its class is one of this process: see Connection.
    """
    name = "does not hold" if type(error) is AssertionError else type(error).__name__
    try:
        text = str(error)[:SHOWN]
    except (ValueError, RecursionError, MemoryError):
        text = "a value that is too large to be shown"
    return "failed", f"{name}: {text}" if text else name


def _compiled(text: str) -> tuple[ast.Module, CodeType] | str:
    """Its tree as written, and its compiled code with asserts rewritten; or why it cannot be
    compiled.
    """
    try:
        tree = ast.parse(text)
        return tree, compile(
            ast.fix_missing_locations(_Asserts().visit(ast.parse(text))), "test.py", "exec"
        )
    except UNREADABLE as error:
        return f"no Python: {error}"[:SHOWN]


def _own_output() -> TextIO:
    """The stream for verdicts.

    Output of a test is discarded: it may be the tested code's own text.
    """
    verdicts = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    return verdicts


def verdicts(given: dict[str, Any], channel: socket.socket) -> Iterator[tuple[str, str]]:
    """One line per test, in order, after a first line when both processes have started."""
    setup, tests = _compiled(given["setup"]), [_compiled(test) for test in given["tests"]]
    trees = [made[0] for made in (setup, *tests) if not isinstance(made, str)]
    shown = "" if isinstance(setup, str) else shown_setup(setup[0])
    own = tested_builtins(ast.Module([], []) if isinstance(setup, str) else trees[0], trees[1:])
    connection = Connection(channel.makefile("rwb"), class_names(trees), shown)
    channel.settimeout(START_S)
    connection.open()
    channel.settimeout(given["test_s"] + REPLY_GRACE_S)
    yield "ready", ""
    ends = time.monotonic() + given["total_s"]
    for test in tests:
        left_s = ends - time.monotonic()
        if isinstance(setup, str):
            yield "cannot_run", f"the setup is {setup}"
        elif isinstance(test, str):
            yield "cannot_run", f"the test is {test}"
        elif connection.broken:
            yield (
                "timed_out" if connection.timed_out else "failed",
                "not run: the code has broken off what answers for it",
            )
        elif left_s <= 0:
            yield "timed_out", f"not run: {given['total_s']:g} s are over"
        else:
            yield run_test(connection, setup[1], test[1], own, min(left_s, given["test_s"]))
    connection.finish()


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    output = _own_output()
    resource.setrlimit(resource.RLIMIT_AS, (4 * given["memory_bytes"],) * 2)
    for verdict, message in verdicts(given, socket.socket(fileno=int(sys.argv[2]))):
        output.write(json.dumps([verdict, message]) + "\n")
        output.flush()
    os._exit(0)
