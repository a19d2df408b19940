"""One sample's tests in Monty, a Python interpreter without files or network.

Runs in `monty_worker.py`'s process.
"""

from __future__ import annotations

import ast
import contextlib
import secrets
import string
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic_monty import (
    ExternalModule,
    Monty,
    MontyClassProxy,
    MontyCrashedError,
    MontyError,
    MontySession,
    ResourceLimits,
)

from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution.compare import (
    ForeignValueError,
    Kind,
    TooLargeError,
    equal,
    holds_instance,
    shorten,
    to_plain,
    value_kind,
)
from markbook.scoring.execution.guest.name_resolution import (
    BUILTINS,
    PREDICATES,
    UNREADABLE,
    class_names,
    shown_setup,
    tested_builtins,
)
from markbook.scoring.execution.instrument import HOST, PLAIN, Instrumented, Instrumenter
from markbook.scoring.execution.monty_gaps import UnsupportedFeatures, find_unsupported
from markbook.scoring.execution.types import Limits, TestResult, Verdict, not_run

CHECKOUT_S = 30.0
MAX_CALLS = 1_000_000
"""Values per test that may be passed to the host."""
NO_VALUE = "\n\nNone"
"""Appended to code run for its effects: a session returns the value of the last line, at
whatever cost.
"""
_CONSTANTS = [name for name in string.__all__ if isinstance(getattr(string, name), str)]
MODULES = {"string": ExternalModule({name: getattr(string, name) for name in _CONSTANTS})}
"""Modules that Monty lacks, as far as plain values can replace them."""
PASSED = TestResult(Verdict.PASSED)


class MontyInterpreter:
    """Runs one sample at a time in Monty's own process.

    Raises ExecutionUnavailableError when that does not start.
    """

    def __init__(self) -> None:
        self._pool = Monty(max_processes=1, checkout_timeout=CHECKOUT_S)
        try:
            self._pool.__enter__()
            with self._pool.checkout() as session:
                self._real = _own_builtins(session)
        except (MontyError, OSError, RuntimeError, TimeoutError) as error:
            raise ExecutionUnavailableError(f"the Monty sandbox does not start: {error}") from error

    def run(
        self, code: str, tests: Sequence[str], setup: str, limits: Limits
    ) -> Iterator[TestResult]:
        """One result per test, in order, each as soon as it is known."""
        return _Sample(self._pool, self._real, code, setup, limits).run(tests)

    def close(self) -> None:
        self._pool.__exit__(None, None, None)


def _own_builtins(session: MontySession) -> dict[str, Any]:
    """The builtins in a form that can be passed into any session and is identical there."""
    real: dict[str, Any] = {}
    for name in sorted(BUILTINS):
        try:
            value = session.feed_run(name)
            if session.feed_run(f"value is {name}", inputs={"value": value}) is True:
                real[name] = value
        except MontyError:
            continue  # this version has no such builtin
    return real


@dataclass
class _Host:
    """The functions that a test's asserts call.

    The first failure decides, whatever the test does afterwards.
    """

    classes: frozenset[str]
    unsupported: UnsupportedFeatures
    failure: TestResult | None = None
    is_done: bool = False

    def done(self) -> None:
        """The test has run to its end."""
        self.is_done = True

    def verdict(self, operator: str, same: bool, left: Any, right: Any) -> None:
        if not same:
            reason = (
                self.unsupported.explain_difference(str(right), str(left))
                if operator == "=="
                else None
            )
            message = _difference(operator, left, right)
            self._fail(
                f"{message} ({reason})" if reason else message,
                Verdict.CANNOT_RUN if reason else Verdict.FAILED,
            )

    def equal(self, left: Any, right: Any) -> bool:
        """Whether copies of the values are equal; the sandbox's own comparison comes after that."""
        with self._refusing():
            return equal(left, right, self.classes)

    def check(self, value: Any, strict: bool) -> bool:
        """Reject values that are not plain data; returns whether `value` is a view, whose items
        must be checked.
        """
        with self._refusing():
            kind = value_kind(value)
            if kind is Kind.ITERATOR and strict:
                self._fail(f"{shorten(str(value))} in an operator", Verdict.CANNOT_RUN)
            if kind is Kind.DATA and holds_instance(to_plain(value, self.classes)):
                # its methods would learn the expected value
                self._fail("an object of the tested code in an operator", Verdict.CANNOT_RUN)
            return kind is Kind.VIEW

    def method(self, value: Any, name: str) -> bool:
        """Reject a container of values that are not plain data; returns whether the arguments must
        be checked too.

        Methods of the tested code's own objects are allowed, but not in place of a string or a set.
        """
        with self._refusing():
            if isinstance(value, MontyClassProxy):
                if name in PREDICATES and value.name not in self.classes:
                    self._fail(f"got an object of class {value.name}, not plain data")
                return False
            if self.check(value, False):
                self._fail(f"{shorten(str(value))} has a method called", Verdict.CANNOT_RUN)
            return True

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except TooLargeError as error:
            self._fail(str(error), Verdict.CANNOT_RUN)
        except (ForeignValueError, TypeError, RecursionError) as error:
            self._fail(f"got {error}")

    def _fail(self, message: str, verdict: Verdict = Verdict.FAILED) -> NoReturn:
        if self.failure is None:
            self.failure = TestResult(verdict, message)
        raise AssertionError(message)


def _difference(operator: str, left: Any, right: Any) -> str:
    if operator == "==":
        return f"expected {shorten(str(right))}, got {shorten(str(left))}"
    if right is None:
        return f"{shorten(operator)} is {shorten(str(left))}"
    return f"not true: {shorten(str(left))} {operator} {shorten(str(right))}"


class _Sample:
    """Runs one sample's code against its tests."""

    def __init__(
        self, pool: Monty, real: Mapping[str, Any], code: str, setup: str, limits: Limits
    ) -> None:
        self._pool = pool
        self._real = real
        self._code = code
        self._setup = setup
        self._limits = limits
        self._secret = secrets.token_hex(8)
        self._shown_setup = ""
        self._classes: frozenset[str] = frozenset()
        self._unsupported = UnsupportedFeatures()
        self._load_failure: TestResult | None = None

    def run(self, tests: Sequence[str]) -> Iterator[TestResult]:
        try:
            setup = ast.parse(self._setup)
        except UNREADABLE as error:
            yield from [
                TestResult(
                    Verdict.CANNOT_RUN, f"the test setup is not valid Python: {shorten(str(error))}"
                )
            ] * len(tests)
            return
        trees = [_parsed(test) for test in tests]
        readable = [tree for tree in trees if isinstance(tree, ast.Module)]
        self._classes = class_names([setup, *readable])
        with contextlib.suppress(*UNREADABLE):  # Monty reports the error
            self._unsupported = find_unsupported(self._code, ast.parse(self._code))
        own = tested_builtins(setup, readable)
        instrumenter = Instrumenter(setup, frozenset(self._real), own, self._secret)
        self._shown_setup = shown_setup(setup)
        ends = time.monotonic() + self._limits.total_s
        for tree in trees:
            if isinstance(tree, TestResult):
                yield tree
            elif self._load_failure is not None:
                yield self._load_failure
            elif (left_s := ends - time.monotonic()) <= 0:
                yield not_run(self._limits.total_s)
            else:
                yield self._test(instrumenter, tree, min(left_s, self._limits.test_s))

    def _test(self, instrumenter: Instrumenter, tree: ast.Module, limit_s: float) -> TestResult:
        try:
            made = instrumenter.instrument(tree)
        except UNREADABLE as error:
            return TestResult(Verdict.CANNOT_RUN, f"the test cannot be read: {shorten(str(error))}")
        if shadowed := self._unsupported.may_bind(made.doubtful):
            return TestResult(Verdict.CANNOT_RUN, f"the code may have a {shadowed} of its own")
        try:
            try:
                result = self._attempt(made, limit_s)
            except MontyCrashedError as error:
                if error.timed_out:
                    return TestResult(
                        Verdict.TIMED_OUT, f"timed out: no reply within {limit_s:.3g} s"
                    )
                result = self._attempt(
                    made, limit_s
                )  # it may have been killed because of another one
        except MontyCrashedError:  # twice: the code causes it, unless the pool is broken
            self._prove_alive()
            return TestResult(Verdict.FAILED, "the interpreter crashed")
        if result.passed and (reason := self._unsupported.lazy or self._unsupported.hidden):
            return TestResult(Verdict.CANNOT_RUN, reason)
        return result

    def _attempt(self, made: Instrumented, limit_s: float) -> TestResult:
        limits = ResourceLimits(
            max_feed_duration_secs=limit_s,
            max_memory=self._limits.memory_bytes,
            max_recursion_depth=self._limits.recursion_depth,
            max_suspensions=MAX_CALLS,
        )
        host = _Host(self._classes, self._unsupported)
        started = time.monotonic()
        loading = True
        try:
            with self._pool.checkout(
                limits=limits, os_policy={"sleep": "zero"}, external_modules=MODULES
            ) as session:
                session.feed_run(self._code + NO_VALUE, print_callback=_discard)
                loading = False
                if self._shown_setup:
                    session.feed_run(self._shown_setup + NO_VALUE, print_callback=_discard)
                self._feed(session, made, host)
        except MontyCrashedError:
            raise
        except MontyError as error:
            is_late = time.monotonic() - started >= limit_s
            result = host.failure or self._result_of(error.exception(), limit_s, is_late=is_late)
            if loading:
                self._load_failure = result
            return result
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ExecutionUnavailableError(f"the Monty sandbox failed: {error}") from error
        except (
            ValueError
        ) as error:  # a value that the host cannot represent, such as an integer of 5,000 digits
            return TestResult(
                Verdict.CANNOT_RUN, f"a value is too large to be compared: {shorten(str(error))}"
            )
        return host.failure or (
            PASSED if host.is_done else TestResult(Verdict.CANNOT_RUN, "the test ended early")
        )

    def _feed(self, session: MontySession, made: Instrumented, host: _Host) -> None:
        inputs = {name: self._real[builtin] for name, builtin in made.builtins.items()}
        inputs[f"{PLAIN}_{self._secret}"] = (bool, int, float, str)
        functions = {f"{name}_{self._secret}": getattr(host, name) for name in HOST}
        session.feed_run(
            made.source, inputs=inputs, external_lookup=functions, print_callback=_discard
        )

    def _result_of(self, error: BaseException, limit_s: float, *, is_late: bool) -> TestResult:
        text = shorten(f"{type(error).__name__}: {error}")
        if is_late and isinstance(error, TimeoutError):  # otherwise the code raised it itself
            return TestResult(Verdict.TIMED_OUT, f"timed out after {limit_s:.3g} s")
        if isinstance(error, MemoryError):
            return TestResult(Verdict.OUT_OF_MEMORY, text)
        if (reason := self._unsupported.explain_error(error)) is not None:
            return TestResult(Verdict.CANNOT_RUN, shorten(reason))
        return TestResult(Verdict.FAILED, text)

    def _prove_alive(self) -> None:
        try:
            with self._pool.checkout() as session:
                session.feed_run("1")
        except (MontyError, OSError, RuntimeError, TimeoutError) as error:
            raise ExecutionUnavailableError(f"the Monty sandbox failed: {error}") from error


def _parsed(test: str) -> ast.Module | TestResult:
    try:
        return ast.parse(test)
    except UNREADABLE as error:
        return TestResult(
            Verdict.CANNOT_RUN, f"the test is not valid Python: {shorten(str(error))}"
        )


def _discard(stream: str, text: str) -> None:
    """Discard what the code prints."""
