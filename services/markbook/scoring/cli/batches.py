"""Waiting for a batch at a shell: its state is shown while it is in progress, and Ctrl-C leaves
it to the service.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import typer

from markbook.cli.options import INTERRUPTED
from markbook.client import ScoringClient
from markbook.contract import Batch, BatchState, RequestUsage, Sample, ScoreResponse

FIRST_LOOK_S, MAX_LOOK_S = 1.0, 30.0
"""Seconds between looks: the first, and the longest to which they grow."""


def wait_for_batch(
    client: ScoringClient,
    samples: Sequence[Sample],
    run: str,
    sleep: Callable[[float], None] = time.sleep,
) -> ScoreResponse:
    """Submit a batch and return its results.

    Ctrl-C exits with INTERRUPTED and leaves the batch to the service.
    """
    batch = client.submit_batch(samples, run=run)
    print(f"batch {batch.id}: {batch.samples:,} samples", file=sys.stderr)
    wait_s = FIRST_LOOK_S
    try:
        while batch.state is not BatchState.ENDED:
            sleep(wait_s)
            wait_s = min(1.5 * wait_s, MAX_LOOK_S)
            batch = _look(client, batch)
    except KeyboardInterrupt:
        print(
            f"stopped waiting: the service continues batch {batch.id}. The same command gets its "
            f"marks, which are not paid for again; GET /batches/{batch.id} has its state and "
            "results",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    return ScoreResponse(results=batch.results or [], usage=batch.usage or RequestUsage())


def _look(client: ScoringClient, batch: Batch) -> Batch:
    newer = client.get_batch(batch.id)
    if newer.state is not batch.state:
        print(f"batch {newer.id}: {newer.state.value.replace('_', ' ')}", file=sys.stderr)
    return newer
