"""(b) What the service adds to a call: a miss beside a bare pass-through of the SDK, the teacher
taking one second.

Emulator, service (SQLite), pass-through and load (`wrk`) are four processes on this machine. N in
flight are N requests per second at even intervals, each sent at its time whatever the others take,
as long as a connection is free: there are an eighth more than N, so what cannot keep up is shown by
its answers, not by a queue without end.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anthropic
import psutil
import yaml
from fastapi import FastAPI

from markbook.contract import ScoreRequest
from markbook.demo.processes import free_port
from markbook.scoring.prompts.prompt import fence, render, system_text
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.reply_parser import reply_tokens
from tests.processes import ROOT, ServiceProcess, clean_environment

TEACHER_S = 1.0
LOADS = {1: 30, 32: 45, 200: 15}
"""In flight -> seconds."""
WARM_UP_S = 3
MAX_CONCURRENCY = 256
"""teacher.max_concurrency: the default of 16 would make the others wait their turn."""
NUMBER = "@@@@@@@"
"""Stands in the code where the number of the request goes: each is a miss."""
CODE = "def f(values: list[int]) -> int:\n" + "\n".join(
    f"    step_{line} = sum(values) + {line}" for line in range(24)
)
CODE += f"\n    return step_7 * 1{NUMBER}\n"
TASK = "Write a function that adds up the numbers of a list, and explain what it does. " * 18
MODEL = "claude-haiku-5-5"

_LUA = """
local before, after, number, gap, slot = %s, %s, %d, %f, 0
local headers = {["Content-Type"] = "application/json"}
local ffi = require("ffi")
ffi.cdef("typedef struct { long s, us; } clock; int gettimeofday(clock *now, void *zone);")
local clock = ffi.new("clock")
function delay()
  ffi.C.gettimeofday(clock, nil)
  local now = tonumber(clock.s) * 1000 + tonumber(clock.us) / 1000
  slot = math.max(slot + gap, now)
  return slot - now
end
function request()
  number = number + 1
  return wrk.format("POST", "/score", headers, before .. string.format("%%07d", number) .. after)
end
function response(status, _, body)
  local judged = body:find('"source":"teacher"') or body:find('"stop_reason":"end_turn"')
  if status ~= 200 or not judged then
    io.stderr:write(status, " ", body, "\\n")
    os.exit(1)
  end
end
function done(summary, latency)
  local half, most = latency:percentile(50), latency:percentile(99)
  io.write(string.format("took %%f %%f %%d\\n", half, most, summary.requests))
end
"""
_numbers = itertools.count(0, 100_000)


@dataclass(frozen=True)
class Took:
    """Milliseconds above the teacher's time, and milliseconds of CPU a request."""

    p50: float
    p99: float
    cpu: float


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
            messages=[
                {"role": "user", "content": render(task, sample.language, [sample.code], marker)}
            ],
            thinking={"type": "disabled"},
        )
        return message.model_dump(mode="json")

    return app


@contextmanager
def process(*command: str, says: str, **environment: str) -> Iterator[tuple[str, int]]:
    """A Python module as a process, once it has printed its address; yields its address and
    process id.
    """
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
        yield found[0], started.pid
    finally:
        started.terminate()
        started.wait()
        started.stdout.close()


def emulator_process(latency_s: float) -> AbstractContextManager[tuple[str, int]]:
    """The emulator as a process whose calls take `latency_s` seconds: its address, its id."""
    options = ("--port", "0", "--estimate", "--latency", str(latency_s))
    return process("tests.emulator", *options, says=r"http://\S+")


def load(url: str, pid: int, in_flight: int, seconds: int) -> Took:
    """Ask for so many seconds. Exits with the answer when one is no mark."""
    body = {"run": "bench", "samples": [{"prompt": TASK, "language": "python", "code": CODE}]}
    values = [f"[==[{part}]==]" for part in json.dumps(body).split(NUMBER)]
    asked = psutil.Process(pid)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_LUA % (*values, next(_numbers), 1000 / in_flight))
        before = asked.cpu_times()
        connections = in_flight + math.ceil(in_flight / 8)
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "60s",
            "-s",
            str(script),
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        after = asked.cpu_times()
    found = re.search(r"took (\S+) (\S+) (\d+)", done.stdout)
    if done.returncode or found is None or "Socket errors" in done.stdout:
        raise SystemExit(f"{done.stdout}{done.stderr}")
    p50, p99, requests = (float(value) for value in found.groups())
    if not requests:  # as in a warm-up on a machine that is busy otherwise
        return Took(math.nan, math.nan, math.nan)
    cpu = after.user + after.system - before.user - before.system
    return Took(p50 / 1000 - 1000 * TEACHER_S, p99 / 1000 - 1000 * TEACHER_S, 1000 * cpu / requests)


def run() -> None:
    if shutil.which("wrk") is None:
        sys.exit("this benchmark makes its load with wrk: apt-get install wrk, or brew install wrk")
    key = {"ANTHROPIC_API_KEY": "none"}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        emulator, _ = opened.enter_context(emulator_process(TEACHER_S))
        config = folder / "config.yaml"
        teacher = {
            "name": "anthropic",
            "model": MODEL,
            "base_url": emulator,
            "max_concurrency": MAX_CONCURRENCY,
        }
        # a request per call, as the pass-through makes them; part e measures gathering
        config.write_text(yaml.safe_dump({"teacher": teacher | {"gather_ms": 0.0}}))
        database = f"sqlite:///{folder / 'book.db'}"
        service = opened.enter_context(ServiceProcess(database, "--config", str(config), **key))
        port = str(free_port())
        bare = opened.enter_context(
            process(
                *(
                    "uvicorn",
                    "--factory",
                    "benchmarks.service_latency:passthrough",
                    "--port",
                    port,
                    "--no-access-log",
                ),
                says=rf"http://127\.0\.0\.1:{port}",
                ANTHROPIC_BASE_URL=emulator,
                **key,
            )
        )
        print(
            f"Milliseconds above the teacher's {TEACHER_S:g} s, {os.cpu_count()} cores for all "
            "four processes;"
        )
        print(
            f"teacher.max_concurrency {MAX_CONCURRENCY} (default 16), requests of one sample, "
            "every one a miss\n"
        )
        print(
            "| in flight | pass-through p50 | p99 | CPU | service p50 | p99 | CPU | difference p50 "
            "| p99 |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for in_flight, seconds in LOADS.items():
            cells = []
            for url, pid in (bare, (service.url, service.pid)):
                load(url, pid, in_flight, WARM_UP_S)
                cells.append(load(url, pid, in_flight, seconds))
            plain, ours = cells
            print(
                f"| {in_flight} | {plain.p50:.1f} | {plain.p99:.1f} | {plain.cpu:.1f} "
                f"| {ours.p50:.1f} | {ours.p99:.1f} | {ours.cpu:.1f} "
                f"| {ours.p50 - plain.p50:+.1f} | {ours.p99 - plain.p99:+.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    run()
