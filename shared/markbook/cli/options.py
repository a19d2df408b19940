"""Options and helpers that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

FAILED = 2
"""The exit status after an error that the user can mend, wrong arguments included."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file (default: $MARKBOOK_CONFIG, else ./config.yaml if present).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def new_app(help: str, *examples: str, notes: str = "") -> typer.Typer:
    """A Typer app with plain help texts.

    The help ends with `notes`, kept as they are, and the examples.
    """
    shown = "\n".join(["Examples:", *(f"  {each}" for each in examples)]) if examples else ""
    return typer.Typer(
        help=help,
        epilog="\n\n".join(f"\b\n{block}" for block in (*_blocks(notes), *_blocks(shown))),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )


def _blocks(text: str) -> list[str]:
    return [block for block in text.strip("\n").split("\n\n") if block]


def positive(at_most: float) -> Callable[[str], float]:
    """A parser of numbers above 0 and up to `at_most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} is not a number") from error
        if not 0 < value <= at_most:
            raise typer.BadParameter(f"{text} is not above 0 and at most {at_most:,.0f}")
        return value

    return read


def table(rows: Sequence[Sequence[str]], *, numbers_from: int | None = None) -> Iterator[str]:
    """Lines of aligned columns; those with the index `numbers_from` and above are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width)
            if numbers_from is None or column < numbers_from
            else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
