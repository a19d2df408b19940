"""The process that has the tests: runs each against the subject and writes its verdict to the host."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import operator
import resource
import socket
import sys
import time
from typing import Any

from markbook.scoring.execution.guest.handle import Handle, NotPlainError
from markbook.scoring.execution.guest.remote import EndedError, Link
from markbook.scoring.execution.guest.wire import WireError

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
CHECK = "check of the judge"  # no name that a test can have


class Wrong(BaseException):
    """An assert that does not hold."""


class Namespace(dict[str, Any]):
    """A test's globals: its own names, builtins and modules first, then what the subject defines."""

    def __init__(self, link: Link, given: dict[str, Any]) -> None:
        super().__init__({"__name__": "tests", "__builtins__": builtins, CHECK: _check})
        self._link = link
        self._modules = set(given["modules"])
        self._own = set(given["own"])

    def __missing__(self, name: str) -> Any:
        if name not in self._own:
            if hasattr(builtins, name):
                return getattr(builtins, name)
            if name in self._modules:
                return importlib.import_module(name)
        value = self._link.name(name)
        if isinstance(value, Handle | type):
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
    if isinstance(value, Handle):
        return f"an object of class {value._handle_class}"
    try:
        return repr(value)[:SHOWN]
    except (ValueError, RecursionError):
        return "a value that is too large to be shown"


class _Asserts(ast.NodeTransformer):
    """Comparisons tell what they compared."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            name = ast.Constant(type(test.ops[0]).__name__)
            call = ast.Call(ast.Name(CHECK, ast.Load()), [name, test.left, test.comparators[0]], [])
            return ast.copy_location(ast.Expr(call), node)
        node.msg = None
        return node


def judge(link: Link, test: str, given: dict[str, Any]) -> tuple[str, str]:
    """The verdict on one test, and why."""
    try:
        tree = ast.fix_missing_locations(_Asserts().visit(ast.parse(test)))
        setup = ast.fix_missing_locations(_Asserts().visit(ast.parse(given["setup"])))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return "cannot_run", f"the test is no Python: {error}"
    try:
        link.start()
        namespace = Namespace(link, given)
        for part in (setup, tree):
            exec(compile(part, "test.py", "exec"), namespace)
    except Wrong as error:
        return "failed", str(error)
    except NotPlainError as error:
        return "failed", f"got {error}"
    except EndedError as error:
        return ("timed_out" if error.timed_out else "failed"), str(error)
    except WireError as error:
        return "failed", f"got {error}"
    except TimeoutError as error:
        return "timed_out", str(error)
    except AssertionError:
        return "failed", f"{test[:SHOWN]} does not hold"
    except MemoryError as error:
        return "out_of_memory", f"MemoryError: {error}"
    except BaseException as error:  # noqa: BLE001
        return hand_over(error)
    finally:
        link.end()
    return "passed", ""


def hand_over(error: BaseException) -> tuple[str, str]:
    """What the test or the tested code raised, for the host. Its class is the judge's own: see Link."""
    text = str(error)[:SHOWN]
    return "failed", f"{type(error).__name__}: {text}" if text else type(error).__name__


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    connection = socket.socket(fileno=int(sys.argv[2]))
    connection.settimeout(given["test_s"] + 1)
    resource.setrlimit(resource.RLIMIT_AS, (4 * given["memory_bytes"],) * 2)
    link = Link(connection.makefile("rwb"), frozenset(given["classes"]), given["test_s"])
    ends = time.monotonic() + given["total_s"]
    for test in given["tests"]:
        if link.broken or time.monotonic() > ends:
            break  # the host fills in what is missing
        verdict, message = judge(link, test, given)
        sys.stdout.write(json.dumps([verdict, message]) + "\n")
        sys.stdout.flush()
    link.finish()
