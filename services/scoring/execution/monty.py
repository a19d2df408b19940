"""The sandbox that is always there: Monty, a Python interpreter without files or network, in worker processes."""

from __future__ import annotations

import ast
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_monty import (
    Monty,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontyStdTypeProxy,
    ResourceLimits,
)

from services.scoring.errors import ExecutionUnavailable
from services.scoring.execution.compare import ForeignValueError, equal, shorten, to_plain
from services.scoring.execution.instrument import (
    UNREADABLE,
    Instrumented,
    class_names,
    instrument,
    tested_builtins,
)
from services.scoring.execution.lacking import lacking, lazy_value
from services.scoring.execution.types import Limits, TestResult, Verdict

CHECKOUT_S = 30.0
MAX_CALLS = 1_000_000
"""Values that one test may hand to the host."""
_BUILTINS = [
    "abs",
    "all",
    "any",
    "bin",
    "bool",
    "bytes",
    "chr",
    "complex",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "frozenset",
    "getattr",
    "hasattr",
    "hash",
    "hex",
    "int",
    "isinstance",
    "iter",
    "len",
    "list",
    "map",
    "max",
    "min",
    "next",
    "oct",
    "ord",
    "pow",
    "print",
    "range",
    "repr",
    "reversed",
    "round",
    "set",
    "sorted",
    "str",
    "sum",
    "tuple",
    "zip",
]
PASSED = TestResult(Verdict.PASSED)


class MontySandbox:
    """At most `workers` samples run at the same time, each in a process of its own."""

    name = "monty"

    def __init__(self, workers: int) -> None:
        self._pool = Monty(max_processes=workers, checkout_timeout=CHECKOUT_S)
        try:
            self._pool.__enter__()
            with self._pool.checkout() as session:
                self._real = _real_builtins(session)
        except (MontyError, OSError, RuntimeError, TimeoutError) as error:
            raise ExecutionUnavailable(f"the Monty sandbox does not start: {error}") from error
        self._supported = frozenset(self._real)

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        return _Sample(self._pool, self._real, code, setup, limits).run(tests)

    def close(self) -> None:
        self._pool.__exit__(None, None, None)


def _real_builtins(session: MontySession) -> dict[str, Any]:
    """The builtins in the form in which they can be handed back into any session."""
    real: dict[str, Any] = {}
    for name in _BUILTINS:
        try:
            value = session.feed_run(name)
        except MontyRuntimeError:
            continue  # this version has no such builtin
        if isinstance(value, type | MontyStdTypeProxy):
            real[name] = value
    return real


@dataclass
class _Host:
    """What a test's asserts call. The first that fails decides, whatever the test does afterwards."""

    classes: frozenset[str]
    failure: str | None = None

    def verdict(self, operator: str, same: bool, left: Any, right: Any) -> None:
        if not same:
            self._fail(_difference(operator, left, right))
        elif operator == "==":
            try:
                if not equal(left, right, self.classes):
                    self._fail("the values say that they are equal and are not")
            except (ForeignValueError, TypeError, RecursionError) as error:
                self._fail(f"got {error}")

    def check(self, value: Any) -> None:
        try:
            to_plain(value, self.classes)
        except (ForeignValueError, TypeError, RecursionError) as error:
            self._fail(f"got {error}")

    def _fail(self, message: str) -> None:
        if self.failure is None:
            self.failure = message
        raise AssertionError(message)


def _difference(operator: str, left: Any, right: Any) -> str:
    if operator == "==":
        return f"expected {shorten(str(right))}, got {shorten(str(left))}"
    if right is None:
        return f"{shorten(operator)} is {shorten(str(left))}"
    return f"not true: {shorten(str(left))} {operator} {shorten(str(right))}"


@dataclass
class _Sample:
    pool: Monty
    real: Mapping[str, Any]
    code: str
    setup: str
    limits: Limits
    _load_failure: TestResult | None = field(default=None, init=False)

    def run(self, tests: Sequence[str]) -> list[TestResult]:
        try:
            setup = ast.parse(self.setup)
        except UNREADABLE as error:
            return [TestResult(Verdict.CANNOT_RUN, f"the setup is no Python: {shorten(str(error))}")] * len(tests)
        trees = [_parsed(test) for test in tests]
        readable = [tree for tree in trees if isinstance(tree, ast.Module)]
        own = tested_builtins(setup, readable)
        classes = class_names([setup, *readable])
        doubt = self._doubt()
        ends = time.monotonic() + self.limits.total_s
        results: list[TestResult] = []
        for tree in trees:
            if isinstance(tree, TestResult):
                results.append(tree)
            elif self._load_failure is not None:
                results.append(self._load_failure)
            elif (left_s := ends - time.monotonic()) <= 0:
                results.append(TestResult(Verdict.TIMED_OUT, f"not run: {self.limits.total_s:g} s are over"))
            else:
                result = self._test(tree, setup, own, classes, min(left_s, self.limits.test_s))
                results.append(doubt if result.passed and doubt is not None else result)
        return results

    def _doubt(self) -> TestResult | None:
        """Why a pass here proves nothing."""
        try:
            reason = lazy_value(ast.parse(self.code))
        except UNREADABLE:
            return None
        return None if reason is None else TestResult(Verdict.CANNOT_RUN, reason)

    def _test(
        self, test: ast.Module, setup: ast.Module, own: frozenset[str], classes: frozenset[str], limit_s: float
    ) -> TestResult:
        made = instrument(test, setup, secrets.token_hex(8), frozenset(self.real), own)
        host = _Host(classes)
        for attempt in range(2):
            try:
                return self._attempt(made, host, limit_s)
            except MontyCrashedError as error:
                if error.timed_out:
                    return TestResult(Verdict.TIMED_OUT, f"no answer in {limit_s:g} s")
                if attempt:  # twice: it is the code's doing, if the pool still works
                    self._prove_alive()
                    return TestResult(Verdict.FAILED, "the interpreter crashed")
        raise AssertionError("unreachable")

    def _attempt(self, made: Instrumented, host: _Host, limit_s: float) -> TestResult:
        limits = ResourceLimits(
            max_feed_duration_secs=limit_s,
            max_memory=self.limits.memory_bytes,
            max_recursion_depth=self.limits.recursion_depth,
            max_suspensions=MAX_CALLS,
        )
        loading = True
        try:
            with self.pool.checkout(limits=limits, os_policy={"sleep": "zero"}) as session:
                session.feed_run(self.code, print_callback=_discard)
                loading = False
                if self.setup:
                    session.feed_run(self.setup, print_callback=_discard)
                self._feed(session, made, host)
        except MontyCrashedError:
            raise
        except MontyError as error:
            result = _result_of(error.exception(), limit_s)
            if host.failure is not None:
                return TestResult(Verdict.FAILED, host.failure)
            if loading:
                self._load_failure = result
            return result
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ExecutionUnavailable(f"the Monty sandbox is broken: {error}") from error
        except ValueError as error:  # a value that the host cannot take, such as an integer of 5,000 digits
            return TestResult(Verdict.CANNOT_RUN, f"a value is too large to be compared: {shorten(str(error))}")
        return PASSED if host.failure is None else TestResult(Verdict.FAILED, host.failure)

    def _feed(self, session: MontySession, made: Instrumented, host: _Host) -> None:
        secret = made.secret
        inputs = {name: self.real[builtin] for name, builtin in made.builtins.items()}
        inputs[f"plain_{secret}"] = (bool, int, float, str)
        functions = {f"verdict_{secret}": host.verdict, f"check_{secret}": host.check}
        session.feed_run(made.source, inputs=inputs, external_lookup=functions, print_callback=_discard)

    def _prove_alive(self) -> None:
        try:
            with self.pool.checkout() as session:
                session.feed_run("1")
        except (MontyError, OSError, RuntimeError, TimeoutError) as error:
            raise ExecutionUnavailable(f"the Monty sandbox is broken: {error}") from error


def _parsed(test: str) -> ast.Module | TestResult:
    try:
        return ast.parse(test)
    except UNREADABLE as error:
        return TestResult(Verdict.CANNOT_RUN, f"the test is no Python: {shorten(str(error))}")


def _result_of(error: BaseException, limit_s: float) -> TestResult:
    text = shorten(f"{type(error).__name__}: {error}")
    if isinstance(error, TimeoutError) and "time limit exceeded" in text:
        return TestResult(Verdict.TIMED_OUT, f"not done after {limit_s:.3g} s")
    if isinstance(error, MemoryError):
        return TestResult(Verdict.OUT_OF_MEMORY, text)
    if (reason := lacking(error)) is not None:
        return TestResult(Verdict.CANNOT_RUN, shorten(reason))
    return TestResult(Verdict.FAILED, text)


def _discard(stream: str, text: str) -> None:
    """What the code prints goes nowhere."""
