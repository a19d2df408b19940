"""10,000 marks by batches: replicas are killed at ten moments of a batch, 5 % of the requests
expire or fail.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from markbook.client import RetryPolicy, ScoringClient
from markbook.config.loading import parse_config
from markbook.contract import Batch, BatchState, Sample, Scored, ScoreRequest, Unscored
from markbook.scoring.app import create_app
from markbook.scoring.store.engine import open_engine
from tests.emulator import faults, tokens
from tests.emulator.server import Emulator, Settings
from tests.integration.batching import samples
from tests.integration.test_anthropic_teacher import true_marks
from tests.processes import ServiceProcess

pytestmark = pytest.mark.long

STORE, API = (
    "markbook.scoring.store.batches:Batches",
    "markbook.scoring.teachers.anthropic.message_batches:MessageBatches",
)
MOMENTS = [
    (f"{STORE}.claim", 1),  # free tiers done, nothing claimed
    (f"{STORE}.plan", 1),  # claimed, nothing reserved
    (f"{STORE}.begin_send", 1),  # reserved, certainly not sent
    (f"{API}.send", 1),  # noted as being sent, not sent
    (f"{STORE}.mark_sent", 1),  # sent, and nobody knows as what
    (f"{API}.has_ended", 1),  # sent
    (f"{API}.read", 2),  # one result stored, the next one read
    (f"{STORE}.record", 40),  # in the middle of the results
    (f"{STORE}.requeue", 1),  # all results stored, those that failed to be asked for anew
    (f"{STORE}.finish", 1),  # nothing left but to answer
]
TASKS, PER_TASK = 125, 8
"""Of each batch: 1,000 samples in 125 requests."""
LIMIT_S = 600.0
KILL_SCRIPT = """
import sys
from tests.kill_at import kill_at
kill_at(sys.argv.pop(1), int(sys.argv.pop(1)))
from markbook.cli import main
sys.exit(main(default="serve"))
"""


class KilledReplica(ServiceProcess):
    """A service that kills itself at a moment."""

    def __init__(
        self, database_url: str, moment: tuple[str, int], *arguments: str, **environment: str
    ) -> None:
        self._moment = moment
        super().__init__(database_url, *arguments, **environment)

    def start(self) -> None:
        target, nth = self._moment
        self._command = [sys.executable, "-c", KILL_SCRIPT, target, str(nth), *self._command[3:]]
        super().start()

    def wait_killed(self) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline, (
                f"not killed at {self._moment}:\n{''.join(self.log[-20:])}"
            )
            time.sleep(0.02)


@pytest.fixture
def emulator_of_batches() -> Iterator[Emulator]:
    batch_faults = faults.Faults(share=0.05, kinds=("errored", "expired", "canceled"), seed=7)
    with Emulator(
        Settings(batch_faults=batch_faults, batch_s=0.5, count=tokens.estimate)
    ) as emulator:
        yield emulator


@pytest.fixture
def config(tmp_path: Path, emulator_of_batches: Emulator) -> Path:
    file = tmp_path / "config.yaml"
    teacher = {
        "name": "anthropic",
        "base_url": emulator_of_batches.url,
        "base_url_has_batches": True,
        "batch_poll_s": 0.2,
        "batch_send_timeout_s": 1.0,
        "max_group_size": PER_TASK,
    }
    sections = {
        "teacher": teacher,
        "store": {"claim_lease_s": 1.0},
        "rlaif": {"use_tiered_scoring": False},
    }
    file.write_text(yaml.safe_dump(sections))
    return file


def ended(url: str, batch: str) -> Batch:
    deadline = time.monotonic() + LIMIT_S
    with ScoringClient(url, retry_policy=RetryPolicy(LIMIT_S)) as client:
        while (found := client.get_batch(batch)).state is not BatchState.ENDED:
            assert time.monotonic() < deadline, f"{batch} did not end: {found.state}"
            time.sleep(0.1)
    return found


def rows(database_url: str, query: str) -> list[tuple[object, ...]]:
    engine = open_engine(database_url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


def check_bill(database_url: str, emulator: Emulator) -> None:
    """To the token what the emulator billed, at half its price for calls; nothing reserved,
    claimed or unknown.
    """
    bills = [entry.bill for entry in emulator.log if entry.bill is not None]
    query = (
        "SELECT sum(input_tokens), sum(output_tokens), sum(cache_read_input_tokens), "
        "sum(cache_creation_input_tokens), sum(cost_nusd), count(*) FROM ledger_calls"
    )
    [(sent, received, read, written, nusd, calls)] = rows(database_url, query)
    assert sent == sum(bill.input_tokens for bill in bills)
    assert received == sum(bill.output_tokens for bill in bills)
    assert read == sum(bill.cache_read_input_tokens for bill in bills)
    assert written == sum(bill.cache_write_5m + bill.cache_write_1h for bill in bills)
    assert int(str(nusd)) / 1e9 == pytest.approx(
        sum(entry.dollars() for entry in emulator.log), abs=1e-9 * len(bills)
    )
    assert calls == sum(len(held.requests) for held in emulator.batches.all())
    assert rows(database_url, "SELECT count(*) FROM ledger_calls WHERE usage_unknown") == [(0,)]
    for table in ("reservations", "claims", "batch_samples"):
        assert rows(database_url, f"SELECT count(*) FROM {table}") == [(0,)]


def submit_all(database_url: str, config: Path, asked: list[dict[str, str]]) -> list[str]:
    """Store a batch per moment, as a service does, without one that works on them."""

    settings = yaml.safe_load(config.read_text())
    settings["store"]["database_url"] = database_url

    async def submit() -> list[str]:
        state = create_app(parse_config(settings)).state.markbook
        size = len(asked) // len(MOMENTS)
        batches = []
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            request = ScoreRequest(
                run=f"run-{start}", samples=[Sample(**sample) for sample in part]
            )
            batches.append((await state.batches.submit(request, None)).id)
        await state.store.close()
        return batches

    return asyncio.run(submit())


def kill_two(database_url: str, moment: tuple[str, int], config: Path) -> None:
    """Two replicas that start together; each works on what is left until it is killed."""
    with ThreadPoolExecutor(2) as threads:
        start = partial(
            KilledReplica,
            database_url,
            moment,
            "--config",
            str(config),
            ANTHROPIC_API_KEY="test-key",
        )
        starting = [threads.submit(start) for _ in range(2)]
        with starting[0].result() as first, starting[1].result() as second:
            first.wait_killed()
            second.wait_killed()


def test_every_sample_once_and_every_token_in_the_ledger(
    postgres_url: str, config: Path, emulator_of_batches: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    asked = samples(TASKS * len(MOMENTS), PER_TASK)
    batches = submit_all(postgres_url, config, asked)
    for moment in MOMENTS:
        kill_two(postgres_url, moment, config)
    with ServiceProcess(
        postgres_url, "--config", str(config), ANTHROPIC_API_KEY="test-key"
    ) as service:
        found = [ended(service.url, batch) for batch in batches]
    results = [result for batch in found for result in batch.results or []]
    unscored: Counter[str] = Counter()
    for sample, result in zip(asked, results, strict=True):
        if isinstance(result, Scored):
            assert result.criteria == true_marks(sample["code"])
        else:
            assert isinstance(result, Unscored)
            unscored[result.error.code] += 1
    # tried twice, each time with a chance of 5 %: 1 in 400 is left
    assert unscored.total() < len(asked) / 50
    assert unscored.keys() <= {"teacher_timeout", "teacher_unavailable"}
    answered = Counter(
        code for entry in emulator_of_batches.log if entry.bill for code in entry.codes
    )
    assert len(answered) == len(asked) - unscored.total()
    assert set(answered.values()) == {1}
    check_bill(postgres_url, emulator_of_batches)


@pytest.mark.parametrize("moment", MOMENTS[1:9:2])
def test_a_single_service_on_sqlite_goes_on_after_a_start(
    moment: tuple[str, int], sqlite_url: str, config: Path, emulator_of_batches: Emulator
) -> None:
    part = samples(50, PER_TASK)
    arguments, environment = ("--config", str(config)), {"ANTHROPIC_API_KEY": "test-key"}
    with KilledReplica(sqlite_url, moment, *arguments, **environment) as first:
        with first.client() as client:
            batch = client.submit_batch(part, run="r").id
        first.wait_killed()
    with ServiceProcess(sqlite_url, *arguments, **environment) as service:
        found = ended(service.url, batch)
    assert found.results is not None
    assert len(found.results) == len(part)
    answered = Counter(
        code for entry in emulator_of_batches.log if entry.bill for code in entry.codes
    )
    assert set(answered.values()) == {1}
    check_bill(sqlite_url, emulator_of_batches)
