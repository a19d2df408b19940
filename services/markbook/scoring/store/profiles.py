"""Profiles: what everything that a mark depends on, besides its sample, is a hash of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from markbook.scoring.store import tables
from markbook.scoring.store.statements import insert_new


@dataclass(frozen=True, slots=True)
class Profile:
    """`id`: 16 hex digits.

    `criteria`: their names, in the order in which marks store their values.
    """

    id: str
    identity: Mapping[str, object]
    criteria: Sequence[str]
    created_ms: int


def add(connection: Connection, profile: Profile) -> Profile:
    """Insert it if it is new; returns it as stored."""
    row = {
        "profile": bytes.fromhex(profile.id),
        "identity": json.dumps(profile.identity),
        "criteria": json.dumps(list(profile.criteria)),
        "created_ms": profile.created_ms,
    }
    insert_new(connection, tables.profiles, [row])
    return next(each for each in read_all(connection) if each.id == profile.id)


def read_all(connection: Connection) -> list[Profile]:
    """Every profile, in the order of their ids."""
    rows = connection.execute(select(tables.profiles).order_by(tables.profiles.c.profile))
    return [
        Profile(
            row.profile.hex(), json.loads(row.identity), json.loads(row.criteria), row.created_ms
        )
        for row in rows
    ]
