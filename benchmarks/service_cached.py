"""Cached marks per second, from one worker, beside a bare FastAPI endpoint of the same models in
the same run.

Samples are drawn uniformly from 100,000 distinct marks; the ledger is on; the load is `wrk` with as
many connections as a few trainers have. Bare and service take turns, and the ratio is of the sums
over all turns.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.books import (
    CODE_TEXT,
    NUMBER,
    SAMPLES_A_TASK,
    TASK_TEXT,
    Filler,
    code,
    databases,
    task,
)
from markbook.scoring.store import RetentionPolicy, Store
from tests.processes import ServiceProcess, clean_environment

MARKS = 100_000
BATCHES = (1, 64)
TURNS = 3
SECONDS = 6
CONNECTIONS = 16
BARE = "bare FastAPI"

_LUA = """
local task_a, task_b, code_a, code_b = %s, %s, %s, %s
local format, random, floor, concat = string.format, math.random, math.floor, table.concat
math.randomseed(%d)
local headers = {["Content-Type"] = "application/json"}
function request()
  local samples = {}
  for i = 1, %d do
    local n = random(0, %d)
    samples[i] = format('{"prompt":%%s%%07d%%s,"language":"python","code":%%s%%07d%%s}',
      task_a, floor(n / %d), task_b, code_a, n, code_b)
  end
  local body = '{"run":"bench","samples":[' .. concat(samples, ",") .. ']}'
  return wrk.format("POST", "/score", headers, body)
end
"""


def run() -> None:
    if shutil.which("wrk") is None:
        sys.exit("this benchmark makes its load with wrk: apt-get install wrk, or brew install wrk")
    with databases() as books, _bare() as bare:
        for url in books.values():
            asyncio.run(_fill(url))
        rates: defaultdict[tuple[str, int], float] = defaultdict(float)
        for turn in range(TURNS):
            for batch in BATCHES:
                rates[BARE, batch] += batch * _rate(bare, batch, turn) / TURNS
                for name, url in books.items():
                    rates[name, batch] += batch * _served(url, batch, turn) / TURNS
    _print(rates, [BARE, *books])


async def _fill(database_url: str) -> None:
    filler = Filler(
        Store(database_url, 15_000, RetentionPolicy(store_samples=False))
    )  # a lookup never reads them
    await filler.fill(0, MARKS)
    await filler.store.close()


def _served(database_url: str, batch: int, turn: int) -> float:
    """Requests a second; every sample must have been a hit, and counted."""
    with ServiceProcess(database_url) as service, httpx.Client(base_url=service.url) as http:
        before = http.get("/stats").json()["totals"]["samples"]
        samples = [
            {"prompt": task(n), "language": "python", "code": code(n)} for n in (0, MARKS - 1)
        ]
        answer = http.post("/score", json={"run": "check", "samples": samples}).json()
        assert [result["source"] for result in answer["results"]] == ["cache", "cache"], answer
        rate = _rate(service.url, batch, turn)
        totals = http.get("/stats").json()["totals"]
    assert totals["samples"] == totals["by_source"]["cache"] > before
    return rate


def _rate(url: str, batch: int, turn: int) -> float:
    quoted = [part for text in (TASK_TEXT, CODE_TEXT) for part in json.dumps(text).split(NUMBER)]
    values = [f"[==[{part}]==]" for part in quoted]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_LUA % (*values, 100 * turn + batch, batch, MARKS - 1, SAMPLES_A_TASK))
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{SECONDS}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
            url,
        ]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


@contextmanager
def _bare() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "benchmarks.service_bare:app",
        "--port",
        str(port),
        "--no-access-log",
    ]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=clean_environment())
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(f"{url}/openapi.json")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the bare endpoint did not start")


def _print(rates: dict[tuple[str, int], float], names: list[str]) -> None:
    print(
        "| cached marks per second |",
        " | ".join(f"batches of {batch} | of bare" for batch in BATCHES),
        "|",
    )
    print("|---|", "---|" * (2 * len(BATCHES)), sep="")
    for name in names:
        cells = [
            f"{rates[name, batch]:,.0f} | {rates[name, batch] / rates[BARE, batch]:.2f}"
            for batch in BATCHES
        ]
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    run()
