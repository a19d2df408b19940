"""`python -m tests.emulator --port 8089`: the emulator as its own process, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib

from tests.emulator import faults, judges, tokens
from tests.emulator.ratelimit import Bucket
from tests.emulator.server import Emulator, Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8089, help="TCP port; 0 takes a free one")
    parser.add_argument("--judge", choices=judges.JUDGES, default="steady")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="S", help="seconds until an answer begins"
    )
    parser.add_argument(
        "--faults", type=float, default=0.0, metavar="SHARE", help="share of requests that fail"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=faults.ALL, default=list(faults.FLEETING), metavar="KIND"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--estimate", action="store_true", help="estimate tokens: for load, not for bills"
    )
    parser.add_argument("--requests-per-minute", type=int, metavar="N")
    options = parser.parse_args()
    settings = Settings(
        judge=judges.JUDGES[options.judge],
        latency_s=options.latency,
        faults=faults.Faults(share=options.faults, kinds=tuple(options.kinds), seed=options.seed),
        count=tokens.estimate if options.estimate else tokens.exact,
    )
    emulator = Emulator(settings, host=options.host, port=options.port)
    if options.requests_per_minute:
        settings.limits.append(Bucket("requests", options.requests_per_minute, emulator.clock))
    print(
        f"Messages API emulator on {emulator.url}  (MARKBOOK_TEACHER=anthropic "
        f"ANTHROPIC_BASE_URL={emulator.url} ANTHROPIC_API_KEY=any make serve)",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        emulator.serve()


if __name__ == "__main__":
    main()
