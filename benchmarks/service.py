"""`make bench-service`: what the service itself costs.

Each part prints a table; `ARGS=a` runs only that one.
"""

from __future__ import annotations

import argparse
import importlib

PARTS = {
    "a": ("benchmarks.service_cached", "cached marks per second, against a bare endpoint"),
    "b": ("benchmarks.service_latency", "latency that the service adds to a miss"),
    "c": ("benchmarks.service_growth", "a lookup's cost and a mark's size as the book grows"),
    "d": ("benchmarks.service_replicas", "eight trainers on four replicas"),
    "e": (
        "benchmarks.service_gathering",
        "calls and latency of requests of one sample, gathered and not",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service",
        description=__doc__,
        epilog="; ".join(f"{name}: {what}" for name, (_, what) in PARTS.items()),
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {' '.join(PARTS)}; without any: all"
    )
    asked = parser.parse_args().parts or list(PARTS)
    if unknown := set(asked) - set(PARTS):
        parser.error(f"no part {' '.join(sorted(unknown))}; there are {' '.join(PARTS)}")
    for name in asked:
        module, what = PARTS[name]
        print(f"\n({name}) {what}\n", flush=True)
        importlib.import_module(module).run()


if __name__ == "__main__":
    main()
