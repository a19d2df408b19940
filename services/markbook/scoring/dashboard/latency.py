"""Teacher latency quantiles, interpolated linearly within histogram buckets."""

from __future__ import annotations

from collections.abc import Mapping

from markbook.scoring.store import LATENCY_BUCKETS, LATENCY_MS


def quantile(counts: Mapping[str, int], share: float) -> float | None:
    """Milliseconds within which `share` of the calls were answered; None without any.

    As Prometheus' histogram_quantile: calls beyond the last bucket are reported at its upper bound.
    """
    numbers = [counts.get(column, 0) for column in LATENCY_BUCKETS]
    rank, below, low = share * sum(numbers), 0, 0
    if not rank:
        return None
    for number, high in zip(numbers, LATENCY_MS, strict=False):
        if number and below + number >= rank:
            return low + (high - low) * (rank - below) / number
        below, low = below + number, high
    return float(LATENCY_MS[-1])
