"""(e) Trainers that send one sample per request: teacher calls per group of eight, and latency,
with and without `teacher.gather_ms`.

The emulator, two services (SQLite; gather_ms 0 and 50) and the load are processes on this machine;
the rows alternate between the services. Each sample is a miss. Latency is from a request to its
response, the teacher's time subtracted. The load of the last rows is verl's own reward loop, where
build/trainers-venv has it; its latency is that of verl's call of a reward function.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import yaml

from benchmarks.service_latency import CODE, MODEL, NUMBER, TASK, emulator_process
from tests.processes import ROOT, ServiceProcess, clean_environment

TEACHER_S = 0.5
GROUP = 8
ROUNDS = 25
WINDOWS_MS = (0, 50)


@dataclass
class Load:
    """`tasks` at a time, `requests` of `samples` samples for each."""

    name: str
    tasks: int
    requests: int
    samples: int
    client: str = ""
    took_s: dict[int, list[float]] = field(default_factory=dict)
    """By gather_ms."""

    def run_name(self, window_ms: int) -> str:
        return f"{self.client}{self.tasks}x{self.requests}x{self.samples}/{window_ms}"


LOADS = (
    Load("8 requests of 1 sample", 1, GROUP, 1),
    Load("8 requests of 1 sample, 4 tasks at a time", 4, GROUP, 1),
    Load("1 request of 8 samples", 1, 1, GROUP),
    Load("1 request of 1 sample, with none to gather", 1, 1, 1),
    Load("32 requests of 1 sample, each of its own task", 4 * GROUP, 1, 1),
)
VERL_LOADS = (
    Load("verl, 8 samples", 1, GROUP, 1, "verl-"),
    Load("verl, 8 samples, 4 tasks at a time", 4, GROUP, 1, "verl-"),
)
VERL_VENV = ROOT / "build" / "trainers-venv"
_numbers = count()


async def ask(http: httpx.AsyncClient, run: str, task: int, samples: int) -> float:
    """Seconds until the response.

    Exits with the response where a sample has no mark of the teacher.
    """
    prompt = f"Task {task}. {TASK}"
    codes = [CODE.replace(NUMBER, f"{next(_numbers):07d}") for _ in range(samples)]
    body = {
        "run": run,
        "samples": [{"prompt": prompt, "language": "python", "code": code} for code in codes],
    }
    begun = time.perf_counter()
    response = await http.post("/score", json=body)
    took_s = time.perf_counter() - begun
    if response.status_code != 200 or response.text.count('"source":"teacher"') != samples:
        raise SystemExit(response.text)
    return took_s


async def one_round(http: httpx.AsyncClient, load: Load, run: str) -> list[float]:
    tasks = [next(_numbers) for _ in range(load.tasks)]
    return await asyncio.gather(
        *(ask(http, run, task, load.samples) for task in tasks for _ in range(load.requests))
    )


async def measure(urls: dict[int, str]) -> None:
    """Fills `took_s` of LOADS."""
    async with AsyncExitStack() as opened:
        clients: dict[int, httpx.AsyncClient] = {}
        for window_ms, url in urls.items():
            clients[window_ms] = await opened.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=60)
            )
        for http in clients.values():
            await one_round(http, LOADS[0], "warm-up")
        for load in LOADS:
            for _ in range(ROUNDS):
                for window_ms, http in clients.items():
                    took = await one_round(http, load, load.run_name(window_ms))
                    load.took_s.setdefault(window_ms, []).extend(took)


def read_stats(urls: dict[int, str]) -> dict[int, dict[str, dict[str, float]]]:
    """The counts of /stats by run, of each service."""
    return {
        window_ms: httpx.get(f"{url}/stats", timeout=60).json()["runs"]
        for window_ms, url in urls.items()
    }


def measure_verl(urls: dict[int, str], load: Load) -> str:
    """Fills `took_s` of `load`; returns verl's version."""
    options = {
        "urls": {str(window_ms): url for window_ms, url in urls.items()},
        "runs": {str(window_ms): load.run_name(window_ms) for window_ms in urls},
        "tasks": load.tasks,
        "group": load.requests,
        "rounds": ROUNDS,
    }
    done = subprocess.run(
        [
            str(VERL_VENV / "bin" / "python"),
            "-m",
            "tests.trainers.verl_gathering",
            json.dumps(options),
        ],
        cwd=ROOT,
        env=clean_environment(
            PYTHONWARNINGS="ignore"
        ),  # its warnings are not about what is measured
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    load.took_s = {int(name): seconds for name, seconds in found["took_s"].items()}
    return str(found["version"])


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def print_table(loads: Sequence[Load], stats: dict[int, dict[str, dict[str, float]]]) -> None:
    print(
        "| load | gather_ms | calls per 8 samples | input tokens per sample | ms above the "
        "teacher's p50 | p99 |"
    )
    print("|---|---|---|---|---|---|")
    for load in loads:
        for window_ms in WINDOWS_MS:
            counts = stats[window_ms][load.run_name(window_ms)]
            calls = GROUP * counts["teacher_calls"] / counts["samples"]
            tokens = counts["api_tokens_sent"] / counts["samples"]
            p50, p99 = (
                1000 * (percentile(load.took_s[window_ms], share) - TEACHER_S)
                for share in (0.5, 0.99)
            )
            print(
                f"| {load.name} | {window_ms} | {calls:.2f} | {tokens:,.0f} | {p50:.1f} | "
                f"{p99:.1f} |"
            )


def run() -> None:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        emulator, _ = opened.enter_context(emulator_process(TEACHER_S))
        urls = {}
        for window_ms in WINDOWS_MS:
            teacher = {
                "name": "anthropic",
                "model": MODEL,
                "base_url": emulator,
                "gather_ms": float(window_ms),
            }
            config = folder / f"{window_ms}.yaml"
            config.write_text(yaml.safe_dump({"teacher": teacher}))
            database = f"sqlite:///{folder / f'{window_ms}.db'}"
            service = ServiceProcess(database, "--config", str(config), ANTHROPIC_API_KEY="none")
            urls[window_ms] = opened.enter_context(service).url
        print(f"The teacher takes {TEACHER_S:g} s; {ROUNDS} rounds per row\n")
        asyncio.run(measure(urls))
        loads, version = [*LOADS], None
        if (VERL_VENV / "installed").exists():
            for load in VERL_LOADS:
                version = measure_verl(urls, load)
                loads.append(load)
        print_table(loads, read_stats(urls))
        print(
            f"\nverl {version}" if version else "\nwithout verl: make build/trainers-venv/installed"
        )


if __name__ == "__main__":
    run()
