"""Cost of a lookup and size of a mark as the store grows: 10 thousand, 100 thousand, 1 million
marks, bulk loaded.

Lookups go through the store in this process, one after another, for samples drawn uniformly: median
time for one mark and for 64 in one statement. Bytes are those of the marks with their indexes; for
texts, their additional bytes.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from benchmarks.books import Filler, databases
from markbook.scoring.app import unix_ms
from markbook.scoring.store import OWNER, RetentionPolicy, Store

SIZES = (10_000, 100_000, 1_000_000)
WITH_TEXTS = 10_000
LOOKUPS = 1_000
BATCHES = (1, 64)


@dataclass(frozen=True)
class Row:
    book: str
    marks: int
    medians_us: tuple[float, ...]
    bytes_a_mark: float


def run() -> None:
    with databases() as books:
        rows = [row for name, url in books.items() for row in asyncio.run(_grow(name, url))]
    with databases() as books:
        texts = {name: asyncio.run(_bytes_with_texts(url)) for name, url in books.items()}
    _print(rows, texts)


async def _grow(name: str, database_url: str) -> list[Row]:
    store = Store(database_url, 15_000, RetentionPolicy(store_samples=False))
    filler, rows, filled = Filler(store), [], 0
    empty = (await store.marks.size(OWNER))[1]
    for size in SIZES:
        await filler.fill(filled, size)
        filled = size
        medians = [await _median_us(filler, size, batch) for batch in BATCHES]
        rows.append(
            Row(name, size, tuple(medians), ((await store.marks.size(OWNER))[1] - empty) / size)
        )
    await store.close()
    return rows


async def _median_us(filler: Filler, size: int, batch: int) -> float:
    draw = random.Random(size)
    times: list[float] = []
    for _ in range(LOOKUPS):
        names = [filler.name(number) for number in draw.sample(range(size), batch)]
        begun = time.perf_counter()
        found = await filler.store.marks.get(names, unix_ms())
        times.append(time.perf_counter() - begun)
        assert len(found) == batch
    return statistics.median(times) * 1e6


async def _bytes_with_texts(database_url: str) -> float:
    store = Store(database_url, 15_000)
    filler = Filler(store)
    empty = await _whole_size(store, database_url)
    await filler.fill(0, WITH_TEXTS)
    size = await _whole_size(store, database_url) - empty
    await store.close()
    return size / WITH_TEXTS


async def _whole_size(store: Store, database_url: str) -> int:
    if database_url.startswith("sqlite"):
        return (await store.marks.size(OWNER))[1]
    with psycopg.connect(database_url) as connection:
        [size] = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (
            0,
        )
    return int(size)


def _print(rows: Sequence[Row], texts: dict[str, float]) -> None:
    heads = " | ".join(f"median of {batch}, µs | of the first" for batch in BATCHES)
    print(f"| book | marks | {heads} | bytes a mark |")
    print("|---|---|", "---|" * (2 * len(BATCHES) + 1), sep="")
    for row in rows:
        first = next(each for each in rows if each.book == row.book)
        cells = [
            f"{m:,.0f} | {m / f:.2f}" for m, f in zip(row.medians_us, first.medians_us, strict=True)
        ]
        print(f"| {row.book} | {row.marks:,} | {' | '.join(cells)} | {row.bytes_a_mark:.0f} |")
    for name, size in texts.items():
        print(f"\n{name}, with the texts: {size:,.0f} bytes a mark ({WITH_TEXTS:,} marks)")


if __name__ == "__main__":
    run()
