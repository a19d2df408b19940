"""Requests to the teacher with its replies, as they made marks: shown on the page of a mark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from markbook.scoring.store.sample_tables import exchanges
from markbook.scoring.store.sample_texts import pack, unpack
from markbook.scoring.store.statements import insert_new
from markbook.scoring.types import Exchange

_exchange = exchanges.c


def identify(exchange: Exchange) -> bytes:
    """16 bytes that request and reply determine."""
    return hashlib.sha256(f"{_body(exchange)}\0{exchange.reply}".encode()).digest()[:16]


def add(connection: Connection, new: Sequence[Exchange], at_ms: int) -> None:
    rows = {
        identify(each): {"at_ms": at_ms, "request": pack(_body(each)), "reply": pack(each.reply)}
        for each in new
    }
    insert_new(connection, exchanges, [{"id": key, **rows[key]} for key in sorted(rows)])


def read(request: bytes, reply: bytes) -> Exchange:
    """An exchange from its row."""
    return Exchange(json.loads(unpack(request)), unpack(reply))


def find_above(connection: Connection, most: int, limit: int) -> Sequence[bytes]:
    """At most `limit` ids of the oldest exchanges above `most`."""
    newest_first = select(_exchange.id).order_by(_exchange.at_ms.desc(), _exchange.id.desc())
    return connection.execute(newest_first.offset(most).limit(limit)).scalars().all()


def find_older(connection: Connection, before_ms: int, limit: int) -> Sequence[bytes]:
    """At most `limit` ids of exchanges from before `before_ms`."""
    old = (
        select(_exchange.id)
        .where(_exchange.at_ms < before_ms)
        .order_by(_exchange.at_ms)
        .limit(limit)
    )
    return connection.execute(old).scalars().all()


def drop(connection: Connection, ids: Sequence[bytes]) -> None:
    connection.execute(delete(exchanges).where(_exchange.id.in_(ids)))


def _body(exchange: Exchange) -> str:
    return json.dumps(exchange.request, sort_keys=True)
