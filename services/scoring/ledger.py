"""The count of everything: a line per request, a line per paid call, and the sums that `/stats` shows."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from services.scoring.store import RequestLine, Store, Sums
from shared.contract import Counters, Source


class LedgerWriter:
    """Commits request lines in groups: while one transaction runs, the lines that arrive wait for the next together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[RequestLine, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, line: RequestLine) -> None:
        """Returns once the line is durable. Raises StoreUnavailable."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._drain())
        await written

    async def _drain(self) -> None:
        while batch := self._waiting:
            self._waiting = []
            [result] = await asyncio.gather(
                self._store.ledger.count([line for line, _ in batch]), return_exceptions=True
            )
            for _, written in batch:
                if written.cancelled():
                    continue
                if isinstance(result, BaseException):
                    written.set_exception(result)
                else:
                    written.set_result(None)
        self._writer = None


def sum_counters(sums: Sums) -> tuple[Counters, dict[str, Counters], int | None]:
    """Totals, counters by run, and the time of the first entry (Unix ms; None while there is none)."""
    runs: defaultdict[str, dict[str, Any]] = defaultdict(_blank)
    since: list[int] = []
    for row in sums.asked:
        since.append(row["since_ms"])
        _add_requests(runs[row["run"]], row)
    for row in sums.failed:
        for code, count in json.loads(row["unscored"]).items():
            runs[row["run"]]["unscored"] += count
            codes = runs[row["run"]]["unscored_by_code"]
            codes[code] = codes.get(code, 0) + count
    for row in sums.paid:
        since.append(row["since_ms"])
        _add_calls(runs[row["run"]], row)
    for block in runs.values():
        # nothing is saved where the plain way would not have paid either: the stand-in's plain tokens are 0
        block["tokens_saved"] = block["tokens_saved"] - block["api_tokens_sent"]
    total = _blank()
    for block in runs.values():
        _merge(total, block)
    counters = {run: Counters(**block) for run, block in sorted(runs.items())}
    return Counters(**total), counters, min(since, default=None)


def _blank() -> dict[str, Any]:
    return Counters().model_dump()


def _add_requests(block: dict[str, Any], row: Mapping[str, Any]) -> None:
    block["samples"] += row["samples"]
    block["tokens_saved"] += int(row["plain_tokens"])
    for source in Source:
        block["by_source"][source] += row[source.value]


def _add_calls(block: dict[str, Any], row: Mapping[str, Any]) -> None:
    cache_read, cache_creation = int(row["cache_read_input_tokens"]), int(row["cache_creation_input_tokens"])
    sent = int(row["input_tokens"]) + cache_read + cache_creation
    cost = int(row["cost_nusd"] or 0) / 1e9 if row["priced_calls"] == row["calls"] else None
    block["teacher_calls"] += row["calls"]
    if row["usage_unknown"]:  # a bound, not a bill: kept apart
        block["usage_unknown_calls"] += row["calls"]
        block["usage_unknown_tokens"] += sent + int(row["output_tokens"])
        block["usage_unknown_cost_usd"] = cost
        return
    block["api_tokens_sent"] += sent
    block["api_tokens_received"] += int(row["output_tokens"])
    block["cache_read_input_tokens"] += cache_read
    block["cache_creation_input_tokens"] += cache_creation
    block["billed_input_equivalent"] += float(row["billed_input_equivalent"])
    block["cost_usd"] = cost


def _merge(total: dict[str, Any], block: Mapping[str, Any]) -> None:
    for key, value in block.items():
        if isinstance(value, Mapping):
            for name, count in value.items():
                total[key][name] = total[key].get(name, 0) + count
        else:
            total[key] = None if value is None or total[key] is None else total[key] + value
