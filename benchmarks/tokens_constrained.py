"""What `teacher.constrain` costs, and from which share of unreadable replies on it costs less
than asking again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.tokens_measured import Row, Settings, measure
from benchmarks.workload import ScoredRequest
from tests.emulator.server import Emulator

HIDDEN_TOKENS = (0, 250)
"""Of the prompt that structured output adds: none at servers such as vLLM, and an example for
the provider's.
"""
LINES: Settings = {"teacher": {"constrain": "off"}}
ALONE: Settings = {"teacher": {"constrain": "off", "max_group_size": 1}}
SCHEMA: Settings = {"teacher": {"constrain": "on"}}


async def report(
    emulator: Emulator, say: Callable[[str], None], answers: Sequence[ScoredRequest]
) -> None:
    """Print a row for each form, and for each hidden prompt the share of groups at which both
    cost the same.
    """
    [lines] = await measure(emulator, LINES, answers, ["lines"])
    [alone] = await measure(emulator, ALONE, answers, ["lines, every sample alone"])
    say("| | calls | input tokens | output tokens | all at its price |")
    say("|---|---|---|---|---|")
    for row in (lines, alone):
        say(_line(row))
    shares: list[str] = []
    for hidden in HIDDEN_TOKENS:
        name = f"schema, {hidden} hidden tokens"
        [schema] = await measure(
            emulator, SCHEMA, answers, [name], structured_output_overhead=hidden
        )
        say(_line(schema))
        shares.append(
            f"{name}: as much as asking {break_even(lines, alone, schema):.1%} of the groups again"
        )
    say("")
    for share in shares:
        say(share)


def break_even(lines: Row, alone: Row, schema: Row) -> float:
    """The share of groups whose lines may be unreadable before the schema is cheaper: their
    samples are asked alone.
    """
    return (schema.all_at_price - lines.all_at_price) / alone.all_at_price


def _line(row: Row) -> str:
    """Per sample."""
    n = row.samples
    return (
        f"| {row.name} | {row.calls / n:.2f} | {row.tokens.sent / n:,.0f} | "
        f"{row.tokens.output / n:.1f} | {row.all_at_price / n:,.1f} |"
    )
