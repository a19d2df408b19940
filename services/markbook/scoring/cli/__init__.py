"""The commands of `python -m markbook.scoring`. Each module has `register`, which adds its parsers.

A command's parser sets `run`, a function of the parsed arguments that returns the exit status; it may raise
ConfigError, a MarkbookError or a ClientError, whose text is then printed as one line.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

PROGRAM = "python -m markbook.scoring"
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def add_command(subparsers: Subparsers, name: str, description: str, *examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends with the examples. Those that begin with `name` are shown as calls of PROGRAM."""
    shown = "\n".join(f"  {PROGRAM} {each}" if each.startswith(name) else f"  {each}" for each in examples)
    return subparsers.add_parser(
        name,
        description=textwrap.fill(description, 100),
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: config.yaml here, if there is one)")


def table(rows: Sequence[Sequence[str]], *, numbers_from: int | None = None) -> Iterator[str]:
    """Lines of aligned columns; those with the index `numbers_from` and above to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if numbers_from is None or column < numbers_from else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
