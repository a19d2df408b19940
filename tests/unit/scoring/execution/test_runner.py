"""The runner around the sandboxes: what is run twice, which verdicts are kept, and how much runs
and waits.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from markbook.config.loading import ConfigError
from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution import (
    MemoryVerdictCache,
    TestResult,
    TestRunner,
    Verdict,
    factory,
    open_runner,
    verdict_digest,
)

PASS, FAIL, CANNOT = (
    TestResult(Verdict.PASSED),
    TestResult(Verdict.FAILED, "no"),
    TestResult(Verdict.CANNOT_RUN, "why"),
)
TIMEOUT = TestResult(Verdict.TIMED_OUT)


class Scripted:
    """A sandbox that answers as it is told, and keeps what it was asked."""

    def __init__(self, name, **answers):
        self.name, self.answers, self.asked = name, answers, []

    def run(self, code, tests, setup, limits):
        self.asked.append(list(tests))
        return [self.answers[test] for test in tests]

    def close(self):
        self.closed = True


async def test_only_what_did_not_pass_is_confirmed_and_cpythons_word_counts():
    first = Scripted("first", a=PASS, b=FAIL, c=CANNOT, d=FAIL)
    second = Scripted("second", b=PASS, c=FAIL, d=CANNOT)
    runner = TestRunner(first, second, max_running=1)
    assert await runner.run("code", ["a", "b", "c", "d"]) == [PASS, PASS, FAIL, FAIL]
    assert second.asked == [["b", "c", "d"]]
    await asyncio.to_thread(runner.close)
    assert first.closed
    assert second.closed


async def test_failures_are_not_confirmed_where_only_what_cannot_run_is():
    first = Scripted("first", a=PASS, b=FAIL, c=CANNOT, d=TIMEOUT)
    second = Scripted("second", c=PASS)
    runner = TestRunner(first, second, confirm_failures=False, max_running=1)
    assert await runner.run("code", ["a", "b", "c", "d"]) == [PASS, FAIL, PASS, TIMEOUT]
    assert second.asked == [["c"]]
    assert runner.identity != TestRunner(first, second, max_running=1).identity
    await asyncio.to_thread(runner.close)


async def test_verdicts_are_kept_by_everything_they_depend_on():
    first = Scripted("first", a=PASS, b=TIMEOUT)
    runner = TestRunner(first, max_running=1)
    for _ in range(2):
        assert await runner.run("code", ["a"]) == [PASS]
    assert len(first.asked) == 1
    await runner.run("code ", ["a"])
    await runner.run("code", ["a"], "setup")
    await runner.run("code", ["a", "a"])
    assert len(first.asked) == 4
    runner.close()
    digests = {
        verdict_digest("ab", ["c"], "", "x"), verdict_digest("a", ["bc"], "", "x"),
        verdict_digest("ab", [], "c", "x"),
        verdict_digest("ab", ["c"], "", "y"), verdict_digest("ab", ["", "c"], "", "x"),
    }  # fmt: skip
    assert len(digests) == 5


async def test_a_timeout_is_kept_once_a_later_run_has_timed_out_as_well():
    first = Scripted("first", a=TIMEOUT, b=TIMEOUT, c=FAIL)
    runner = TestRunner(first, max_running=1)
    for runs in (1, 2, 2):  # a busy machine is no property of the code
        assert await runner.run("code", ["a", "c"]) == [TIMEOUT, FAIL]
        assert len(first.asked) == runs
        assert await runner.has_cached("code", ["a", "c"]) is (runs == 2)
    runner.close()


async def test_a_timeout_that_another_run_does_not_have_is_not_kept():
    first = Scripted("first", a=TIMEOUT, b=TIMEOUT)
    runner = TestRunner(first, max_running=1)
    assert await runner.run("code", ["a", "b"]) == [TIMEOUT, TIMEOUT]
    first.answers["b"] = PASS
    assert await runner.run("code", ["a", "b"]) == [TIMEOUT, PASS]
    assert not await runner.has_cached("code", ["a", "b"])
    first.answers["a"] = PASS
    assert await runner.run("code", ["a", "b"]) == [PASS, PASS]
    assert await runner.has_cached("code", ["a", "b"])
    runner.close()


async def test_two_runs_at_the_same_time_are_one_to_a_busy_machine():
    class Meeting(Scripted):
        """Both runs have begun before either ends."""

        both = threading.Barrier(2)

        def run(self, code, tests, setup, limits):
            self.both.wait(30)
            return super().run(code, tests, setup, limits)

    runner = TestRunner(Meeting("first", a=TIMEOUT), max_running=2)
    await asyncio.gather(runner.run("code", ["a"]), runner.run("code", ["a"]))
    assert not await runner.has_cached("code", ["a"])
    runner.close()


async def test_the_cache_forgets_what_was_unused_longest():
    cache = MemoryVerdictCache(2)
    for name in (b"a", b"b"):
        await cache.put(name, (PASS,))
    assert await cache.get(b"a") == (PASS,)
    await cache.put(b"c", (FAIL,))
    assert [await cache.get(name) for name in (b"a", b"b", b"c")] == [(PASS,), None, (FAIL,)]


async def test_the_cache_is_bounded_by_results_not_by_samples():
    cache = MemoryVerdictCache(5)
    await cache.put(b"a", (FAIL,) * 3)
    await cache.put(b"a", (FAIL,) * 2)  # the same again: counted once
    await cache.put(b"b", (FAIL,) * 3)
    assert await cache.get(b"a") == (FAIL,) * 2
    await cache.put(b"c", (FAIL,))
    assert [await cache.get(name) for name in (b"a", b"b", b"c")] == [(FAIL,) * 2, None, (FAIL,)]
    await cache.put(b"d", (FAIL,) * 6)
    assert await cache.get(b"d") is None


class Blocking(Scripted):
    def __init__(self):
        super().__init__("blocking", a=PASS)
        self.go, self.started = threading.Event(), threading.Semaphore(0)

    def run(self, code, tests, setup, limits):
        self.started.release()
        assert self.go.wait(30)
        return super().run(code, tests, setup, limits)


async def test_parallel_work_and_waiting_are_bounded_and_the_loop_stays_free():
    sandbox = Blocking()
    runner = TestRunner(sandbox, max_running=1, max_waiting=1)
    running = asyncio.create_task(runner.run("1", ["a"]))
    await asyncio.to_thread(sandbox.started.acquire)
    waiting = asyncio.create_task(runner.run("2", ["a"]))
    await asyncio.sleep(0)
    with pytest.raises(ExecutionUnavailableError, match="1 samples are queued"):
        await runner.run("3", ["a"])
    assert len(sandbox.asked) == 0
    sandbox.go.set()
    assert [await running, await waiting] == [[PASS], [PASS]]
    runner.close()


class Broken(Scripted):
    def run(self, code, tests, setup, limits):
        raise KeyError("a fault of ours")


async def test_a_fault_of_the_sandbox_concerns_one_sample_and_is_no_verdict(caplog):
    runner = TestRunner(Broken("broken"), max_running=1)
    for _ in range(2):  # its place is free again
        with pytest.raises(ExecutionUnavailableError, match="the sandbox failed: KeyError"):
            await runner.run("1", ["a"])
    assert "a fault of ours" in caplog.text
    runner.close()


async def test_a_caller_that_goes_away_gives_its_place_back_when_its_thread_is_done():
    sandbox = Blocking()
    runner = TestRunner(sandbox, max_running=1, max_waiting=8)
    gone = asyncio.create_task(runner.run("1", ["a"]))
    await asyncio.to_thread(sandbox.started.acquire)
    gone.cancel()
    sandbox.go.set()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await runner.run("2", ["a"]) == [PASS]
    runner.close()


def test_on_needs_bubblewrap_auto_does_not(monkeypatch):
    monkeypatch.setattr(factory, "bubblewrap_fault", lambda: "no user namespaces")
    with pytest.raises(
        ConfigError, match="cannot be confirmed by CPython here: no user namespaces"
    ):
        open_runner("on")
    for confirm in ("auto", "not_run", "off"):
        runner = open_runner(confirm, max_running=1)
        assert runner.identity.startswith("monty Limits")
        runner.close()
