"""A service whose teacher is on the emulator, and its batches, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from markbook.config.loading import parse_config
from markbook.scoring.app import create_app
from markbook.scoring.store import OWNER, Store
from tests.emulator.server import Emulator

LIMIT_S = 60.0
"""Seconds after which a batch that does not end fails its test."""


def sample(task: int, code: int) -> dict[str, str]:
    return {
        "prompt": f"Write f, number {task}.",
        "language": "python",
        "code": f"def f(x):\n    return x + {code}\n",
    }


def samples(tasks: int, per_task: int) -> list[dict[str, str]]:
    return [sample(task, 100 * task + code) for task in range(tasks) for code in range(per_task)]


@dataclass(frozen=True)
class Replica:
    """A service in this process."""

    http: httpx.AsyncClient
    store: Store

    async def submit(self, asked: Sequence[dict[str, Any]], **more: Any) -> str:
        answer = await self.http.post(
            "/score", json={"run": "r", "samples": list(asked), "batch": True, **more}
        )
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/batches/{answer.json()['id']}"
        return answer.json()["id"]

    async def get(self, batch: str) -> dict[str, Any]:
        answer = await self.http.get(f"/batches/{batch}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, batch: str) -> dict[str, Any]:
        """The batch once it has ended."""
        return await self.until(batch, lambda found: found["state"] == "ended")

    async def until(self, batch: str, reached: Any) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            found = await self.get(batch)
            while not reached(found):
                await asyncio.sleep(0.01)
                found = await self.get(batch)
        return found

    async def stored(self, batch: str) -> Any:
        """Its row."""
        return await self.store.batches.get(OWNER, batch)

    async def until_stored(self, batch: str, reached: Any) -> Any:
        async with asyncio.timeout(LIMIT_S):
            found = await self.stored(batch)
            while not reached(found):
                await asyncio.sleep(0.01)
                found = await self.stored(batch)
        return found

    async def total(self) -> dict[str, Any]:
        return (await self.http.get("/stats")).json()["totals"]

    async def spent(self) -> tuple[float, int]:
        """Dollars and tokens, reservations included."""
        budget = (await self.http.get("/stats")).json()["budgets"]["total"]
        return budget["spent_usd"], budget["spent_tokens"]


@asynccontextmanager
async def replica(
    database_url: str, emulator: Emulator, **sections: dict[str, Any]
) -> AsyncIterator[Replica]:
    """`ANTHROPIC_API_KEY` has to be set.

    Settings of `teacher` and `store` add to those of the test.
    """
    teacher = {
        "name": "anthropic",
        "base_url": emulator.url,
        "base_url_has_batches": True,
        "batch_poll_s": 0.02,
        "batch_send_timeout_s": 5.0,
        "max_group_size": 4,
        **sections.pop("teacher", {}),
    }
    store = {"database_url": database_url, "claim_lease_s": 2.0, **sections.pop("store", {})}
    app = create_app(parse_config({"teacher": teacher, "store": store, **sections}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://markbook") as http:
            yield Replica(http, app.state.markbook.store)


def billed(emulator: Emulator) -> tuple[int, int, int, int]:
    """The emulator's tokens of all answered requests: input, output, read and written."""
    bills = [entry.bill for entry in emulator.log if entry.bill is not None]
    return (
        sum(bill.input_tokens for bill in bills),
        sum(bill.output_tokens for bill in bills),
        sum(bill.cache_read_input_tokens for bill in bills),
        sum(bill.cache_write_5m + bill.cache_write_1h for bill in bills),
    )


def counted(usage: dict[str, Any]) -> tuple[int, int, int, int]:
    """The same of a response's usage."""
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    )
    return tuple(usage[name] for name in names)  # type: ignore[return-value]
