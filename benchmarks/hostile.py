"""What the service does with samples that try to cheat or to break it: `make bench-hostile`.

A real service process (SQLite, the offline teacher, default settings) is sent hostile samples
through POST /score from several clients at once, honest ones among them, while /healthz is asked
every 50 ms. Exit code 1: a target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from benchmarks.hostile_samples import Made, Role, made
from benchmarks.hostile_watch import Health, Look, Watch, look
from markbook.client import ClientError, RetryPolicy, ScoringClient
from markbook.contract import Unscored
from markbook.contract.scoring import Result
from tests.processes import ServiceProcess

GROUP = 4
"""Samples a request."""
WARM_UP = 40
TELL_S = 10.0
MAX_TIMES = 50
"""How often a sample that is worth asking again is asked."""
MARKS = (0.1, 0.5, 1.0)
MEDIAN_MS = 50.0
GROWN = 1.25
GROWN_MIB = 64
MORE_DESCRIPTORS = 16
SHOWN = 20


@dataclass
class Outcome:
    """What came back, counted under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    done: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    away: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def take(self, each: Made, result: Result) -> bool:
        """Note a result; whether the sample is to be sent again."""
        tests = None if isinstance(result, Unscored) else result.tests
        with self.lock:
            if isinstance(result, Unscored):
                if result.error.retry_after_s is not None:
                    self.again[result.error.code] += 1
                    return True
                self.faults.append(f"{each.kind}: {result.error.code}: {result.error.detail}")
            else:
                self.sources[result.source] += 1
                if each.role is not Role.RIGHT and tests is not None and tests.passed:
                    self.wrong.append(f"{each.kind}: {tests}: {each.sample.tests}")
                if each.role is Role.RIGHT and (
                    tests is None or tests.passed < tests.total or tests.not_run
                ):
                    self.missed.append(f"{each.kind}: {tests} {result.source}: {each.sample.tests}")
            self.done += 1
            self.roles[each.role] += 1
        return False


class Clients:
    """Threads that send what `samples` gives until it ends, the service is gone, or `stop` is
    called.
    """

    def __init__(self, url: str, samples: Iterator[Made], outcome: Outcome, count: int) -> None:
        self._samples, self._outcome = samples, outcome
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._client = ScoringClient(
            url,
            timeout_s=600,
            max_in_flight=count,
            retry_policy=RetryPolicy(10.0, on_failure=self._note_away),
        )
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stopped.set()

    def _note_away(self, error: ClientError | None) -> None:
        if error is not None:
            with self._outcome.lock:
                self._outcome.away[str(error)[:120]] += 1

    def _work(self) -> None:
        while group := self._next():
            for _ in range(MAX_TIMES):
                started = time.perf_counter()
                try:
                    results = self._client.score_many(
                        [each.sample for each in group], run="hostile"
                    )
                except ClientError as error:
                    with self._outcome.lock:
                        self._outcome.faults += [f"{each.kind}: {error}" for each in group]
                        self._outcome.done += len(group)
                    break
                took_s = time.perf_counter() - started
                with self._outcome.lock:
                    self._outcome.slowest_s = max(self._outcome.slowest_s, took_s)
                pairs = zip(group, results, strict=True)
                group = [each for each, result in pairs if self._outcome.take(each, result)]
                if not group or self._stopped.wait(1.0):
                    break
            else:
                with self._outcome.lock:
                    self._outcome.faults += [
                        f"{each.kind}: asked {MAX_TIMES} times" for each in group
                    ]
                    self._outcome.done += len(group)

    def _next(self) -> list[Made]:
        with self._lock:
            if self._stopped.is_set():
                return []
            return list(itertools.islice(self._samples, GROUP))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--slow-share", type=float, default=0.01, help="share of samples that use up a time limit"
    )
    parser.add_argument(
        "--honest-share", type=float, default=0.15, help="share of honest ones, right and wrong"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--most-mib", type=float, default=6144, help="the service is killed above so much memory"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="KIND", help="leave a kind out"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory() as folder:
        service = ServiceProcess(f"sqlite:///{folder}/book.db")
        health = Health(service.url, Path(folder))
        try:
            return _run(arguments, service, health)
        except KeyboardInterrupt:
            print("\ninterrupted", flush=True)
            return 130
        finally:
            for interrupting in (
                signal.SIGINT,
                signal.SIGTERM,
            ):  # or a second one would leave the service running
                signal.signal(interrupting, signal.SIG_IGN)
            health.close()
            if psutil.pid_exists(service.pid):
                service.stop(signal.SIGKILL)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(arguments: argparse.Namespace, service: ServiceProcess, health: Health) -> int:
    options = {
        "slow_share": arguments.slow_share,
        "honest_share": arguments.honest_share,
        "seed": arguments.seed,
    }
    samples = (
        each for each in made(arguments.samples, **options) if each.kind not in arguments.without
    )
    print(
        f"{arguments.samples} samples, {arguments.clients} clients, {arguments.slow_share:.1%} "
        f"slow, {arguments.honest_share:.0%} honest",
        flush=True,
    )
    outcome = Outcome()
    with Watch(service.pid, arguments.most_mib) as watch:
        warm_up, ready = made(WARM_UP, slow_share=0, honest_share=1, seed=-1), Outcome()
        _drive(
            service, Clients(service.url, warm_up, ready, arguments.clients), ready, watch, WARM_UP
        )
        started_at = look(service.pid)
        watch.forget()
        started = time.perf_counter()
        looks = _drive(
            service,
            Clients(service.url, samples, outcome, arguments.clients),
            outcome,
            watch,
            arguments.samples,
        )
        took_s = time.perf_counter() - started
        alive = (
            psutil.pid_exists(service.pid)
            and psutil.Process(service.pid).status() != psutil.STATUS_ZOMBIE
        )
        ended_at = look(service.pid) if alive else None
    health.close()
    duration_ms = health.duration_ms()
    status = service.stop()
    return _report(
        outcome,
        Measured(took_s, duration_ms, started_at, looks, ended_at, status, service.log),
        watch,
    )


def _drive(
    service: ServiceProcess, clients: Clients, outcome: Outcome, watch: Watch, total: int
) -> list[Look]:
    """Wait for the clients and print their progress; a measurement at each of MARKS."""
    looks: list[Look] = []
    started = told = time.perf_counter()
    try:
        while clients.working:
            time.sleep(0.2)
            if (
                not psutil.pid_exists(service.pid)
                or psutil.Process(service.pid).status() == psutil.STATUS_ZOMBIE
            ):
                clients.stop()
                break
            if len(looks) < len(MARKS) and outcome.done >= MARKS[len(looks)] * total:
                looks.append(watch.now())
            if time.perf_counter() - told > TELL_S:
                told = time.perf_counter()
                now = watch.now()
                print(
                    f"{told - started:6.0f} s {outcome.done:6} of {total}, {len(outcome.wrong)} "
                    f"wrong passes, {len(outcome.faults)} faults, {now.tree:.0f} MiB",
                    flush=True,
                )
    finally:
        clients.stop()
    return [*looks, watch.now()] if len(looks) < len(MARKS) else looks


@dataclass(frozen=True)
class Measured:
    """What was seen of the service.

    `duration_ms`: of each /healthz; `ended_at`: None if it died.
    """

    took_s: float
    duration_ms: list[float]
    started_at: Look
    looks: list[Look]
    ended_at: Look | None
    status: int
    log: list[str]


def _report(outcome: Outcome, measured: Measured, watch: Watch) -> int:
    started_at, looks, ended_at = measured.started_at, measured.looks, measured.ended_at
    took_s, status = measured.took_s, measured.status
    errors = [line.rstrip() for line in measured.log if "ERROR" in line or "Traceback" in line]
    for title, found in (
        ("wrong passes", outcome.wrong),
        ("honest right ones that did not pass", outcome.missed),
        ("replies that are no mark and not worth asking again", outcome.faults),
        ("errors in the service's log", errors),
    ):
        print(f"\n{title}: {len(found)}")
        for line in found[:SHOWN]:
            print(f"  {line[:300]}")
    ordered = sorted(measured.duration_ms) or [0.0]
    median, p99, worst = (
        statistics.median(ordered),
        ordered[int(0.99 * (len(ordered) - 1))],
        ordered[-1],
    )
    print(
        f"\n{outcome.done} samples in {took_s:.0f} s, {outcome.done / took_s:.1f} a second: "
        f"{dict(outcome.roles)}"
    )
    print(
        f"by source: {dict(outcome.sources)}; asked again: {dict(outcome.again)}; away: "
        f"{dict(outcome.away)}"
    )
    print(f"slowest request of {GROUP}: {outcome.slowest_s:.1f} s")
    print(
        f"/healthz: median {median:.1f} ms, p99 {p99:.0f}, worst {worst:.0f} ({len(ordered)} "
        "answers)"
    )
    for name, at in (("start", started_at), *zip(("10 %", "50 %", "100 %"), looks, strict=False)):
        print(f"memory at {name}: service {at.own:.0f} MiB, with its processes {at.tree:.0f} MiB")
    print(
        f"most memory at once: {watch.worst_mib:.0f} MiB{', killed for it' if watch.killed else ''}"
    )
    if ended_at is not None:
        print(
            f"at the end: {ended_at.children} processes of its own (start {started_at.children}), "
            f"{ended_at.descriptors} file descriptors (start {started_at.descriptors})"
        )
    left = watch.left()
    print(f"exit status of the service: {status}; processes left: {left or 'none'}")
    targets = {
        "no wrong pass": not outcome.wrong,
        "honest right ones pass": not outcome.missed,
        "a mark or worth asking again": not outcome.faults,
        "no error in the service's log": not errors,
        "the service lives": ended_at is not None and status == 0,
        f"/healthz median at most {MEDIAN_MS:g} ms": median <= MEDIAN_MS,
        "memory is steady": len(looks) == len(MARKS)
        and looks[-1].tree <= GROWN * looks[0].tree + GROWN_MIB,
        "descriptors are steady": ended_at is not None
        and ended_at.descriptors <= started_at.descriptors + MORE_DESCRIPTORS,
        "no process is left": not left,
    }
    for name, met in targets.items():
        print(f"{'met   ' if met else 'MISSED'} {name}")
    return 0 if all(targets.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
