"""(b) What the service adds to a call: a miss beside a bare pass-through of the SDK, the teacher taking one second.

Emulator, service (SQLite), pass-through and load are four processes on this machine. N in flight are N callers that
send their next request when the last one is answered, begun evenly over a second.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anthropic
import httpx
import yaml
from fastapi import FastAPI

from demo.processes import free_port
from services.scoring.prompting import fence, render, system_text
from services.scoring.rubric import load_rubric
from services.scoring.verdict import reply_tokens
from shared.contract import ErrorCode, Sample, ScoreRequest, ScoreResponse
from tests.processes import ROOT, ServiceProcess, clean_environment

TEACHER_S = 1.0
LOADS = {1: 30, 32: 15, 200: 8}
"""In flight -> requests of each caller, the first of which warms up and is not counted."""
MAX_CONCURRENCY = 256
"""teacher.max_concurrency: the default of 16 would make the others wait their turn."""
CODE = "def f(values: list[int]) -> int:\n" + "\n".join(f"    step_{line} = sum(values) + {line}" for line in range(24))
TASK = "Write a function that adds up the numbers of a list, and explain what it does. " * 18
MODEL = "claude-haiku-5-5"


def passthrough() -> FastAPI:
    """One route that makes the same call through the SDK and hands the reply on."""
    app = FastAPI()
    client = anthropic.AsyncAnthropic(max_retries=0, timeout=None)
    rubric = load_rubric()
    system = system_text(rubric, explain=False)

    @app.post("/score")
    async def score(request: ScoreRequest) -> dict[str, object]:
        [sample] = request.samples
        task = sample.prompt[:200]
        marker = fence(sample.code, task, [sample.code])
        message = await client.messages.create(
            model=MODEL,
            max_tokens=reply_tokens(1, len(rubric.criteria), explain=False),
            system=[{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            messages=[{"role": "user", "content": render(task, sample.language, [sample.code], marker)}],
            thinking={"type": "disabled"},
        )
        return message.model_dump(mode="json")

    return app


@contextmanager
def process(*command: str, says: str, **environment: str) -> Iterator[str]:
    """A Python module as a process, once it says where it listens; yields the address."""
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=clean_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert started.stdout is not None
    try:
        found = next(address for line in started.stdout if (address := re.search(says, line)))
        yield found[0]
    finally:
        started.terminate()
        started.wait()
        started.stdout.close()


async def latencies(url: str, in_flight: int, each: int) -> list[float]:
    """Milliseconds above the teacher's second, of every request but each caller's first."""
    found: list[float] = []
    limits = httpx.Limits(max_connections=in_flight, keepalive_expiry=3.0)  # before the server closes it
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as http:

        async def caller(number: int) -> None:
            await asyncio.sleep(number / in_flight)
            for turn in range(each):
                code = f"{CODE}\n    return step_{number} * {turn} + {time.monotonic_ns()}\n"
                body = ScoreRequest(run="bench", samples=[Sample(prompt=TASK, language="python", code=code)])
                content, headers = body.model_dump_json(), {"Content-Type": "application/json"}
                begun = time.perf_counter()
                answer = await http.post("/score", content=content, headers=headers)
                took = time.perf_counter() - begun
                check(answer)
                if turn:
                    found.append(1000 * (took - TEACHER_S))

        await asyncio.gather(*(caller(number) for number in range(in_flight)))
    return found


def check(answer: httpx.Response) -> None:
    answer.raise_for_status()
    if b'"results"' in answer.content:
        [result] = ScoreResponse.model_validate_json(answer.content).results
        if result.status != "scored":
            raise SystemExit(f"{ErrorCode(result.error.code)}: {result.error.detail}")


def p50_p99(values: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def run() -> None:
    key = {"ANTHROPIC_API_KEY": "none"}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        emulator = opened.enter_context(
            process("tests.emulator", "--port", "0", "--estimate", "--latency", str(TEACHER_S), says=r"http://\S+")
        )
        config = folder / "config.yaml"
        teacher = {"name": "anthropic", "model": MODEL, "base_url": emulator, "max_concurrency": MAX_CONCURRENCY}
        config.write_text(yaml.safe_dump({"teacher": teacher}))
        database = f"sqlite:///{folder / 'book.db'}"
        service = opened.enter_context(ServiceProcess(database, "--config", str(config), **key)).url
        port = str(free_port())
        bare = opened.enter_context(
            process(
                *("uvicorn", "--factory", "benchmarks.service_latency:passthrough", "--port", port, "--no-access-log"),
                says=rf"http://127\.0\.0\.1:{port}",
                ANTHROPIC_BASE_URL=emulator,
                **key,
            )
        )
        for url in (bare, service):
            asyncio.run(latencies(url, 1, 2))
        print(f"Milliseconds above the teacher's {TEACHER_S:g} s, {os.cpu_count()} cores for all four processes")
        print(f"teacher.max_concurrency {MAX_CONCURRENCY} (default 16), requests of one sample, every one a miss\n")
        print("| in flight | pass-through p50 | p99 | service p50 | p99 | difference p50 | p99 |")
        print("|---|---|---|---|---|---|---|")
        for in_flight, each in LOADS.items():
            (p50, p99), (ours_p50, ours_p99) = (
                p50_p99(asyncio.run(latencies(url, in_flight, each))) for url in (bare, service)
            )
            print(
                f"| {in_flight} | {p50:.1f} | {p99:.1f} | {ours_p50:.1f} | {ours_p99:.1f} "
                f"| {ours_p50 - p50:.1f} | {ours_p99 - p99:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    run()
