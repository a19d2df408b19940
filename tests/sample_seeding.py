"""A store full of samples, written in bulk: marks and rejects of many runs and tasks, with their
texts.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator

from sqlalchemy import Engine, insert

from markbook.scoring.fingerprint import Fingerprint, fingerprint
from markbook.scoring.store import tables
from markbook.scoring.store.engine import migrate, open_engine, transaction
from markbook.scoring.store.sample_rows import NewSample
from markbook.scoring.store.sample_tables import TEACHER, samples
from markbook.scoring.store.sample_texts import pack
from markbook.scoring.store.statements import Row
from markbook.scoring.types import CRITERIA
from tests.seeding import copy_rows, run_name

PROFILE = "5a" * 8
_BATCH = 5_000
_REASONS = ("syntax_error", "stub", "cut_off", "prose", "wrong_language")


def fill_samples(database_url: str, *, count: int, tasks: int, runs: int, until_ms: int) -> None:
    """`count` samples up to `until_ms`, one per second, in groups of eight of one run and task;
    a third rejected.
    """
    engine = open_engine(database_url)
    migrate(engine)
    draw = random.Random(count)
    texts = [
        f"Write task_{number}(values) that adds up what is not {number}.\nDo it well."
        for number in range(tasks)
    ]
    _write_profile(engine, until_ms)
    hashes = {text: hashlib.sha256(text.encode()).digest() for text in texts}
    copy_rows(
        engine,
        tables.tasks,
        [{"hash": digest, "task": pack(text)} for text, digest in hashes.items()],
    )
    for start in range(0, count, _BATCH):
        marks: list[Row] = []
        listed: list[Row] = []
        codes: list[Row] = []
        for number in range(start, min(start + _BATCH, count)):
            group = random.Random(number // 8)
            text, run = group.choice(texts), run_name(group.randrange(runs))
            code = (
                f"def task_{number}(values):\n    return sum(value for value in values if value "
                f"!= {number})\n"
            )
            name = fingerprint(PROFILE, text, code, draw.choice(("python", "python", "rust")))
            at_ms = until_ms - (count - number) * 1_000
            score, criteria = _score(draw)
            reason = draw.choice(_REASONS) if number % 3 == 0 else None
            listed.append(
                _listed(name, run, at_ms, code, None if reason else number // 8, score, reason)
            )
            row = {
                "key": name.row,
                "task": hashes[text],
                "code": pack(code),
                "created_ms": at_ms,
                "tests_digest": None,
            }
            codes.append(row)
            if reason is None:
                marks.append(_mark(name, run, at_ms, criteria, number))
        copy_rows(engine, tables.marks, marks)
        copy_rows(engine, tables.texts, codes)
        copy_rows(engine, samples, listed)
    engine.dispose()


def _write_profile(engine: Engine, at_ms: int) -> None:
    row = {
        "profile": bytes.fromhex(PROFILE),
        "identity": "{}",
        "criteria": json.dumps(CRITERIA),
        "created_ms": at_ms,
    }
    with transaction(engine) as connection:
        connection.execute(insert(tables.profiles), [row])


def _score(draw: random.Random) -> tuple[float, list[float]]:
    criteria = [draw.randrange(101) / 100 for _ in CRITERIA]
    return round(
        sum(weight * value for weight, value in zip(_weights(), criteria, strict=True)), 6
    ), criteria


def _weights() -> Iterator[float]:
    yield from (0.3, 0.3, 0.2, 0.2)


def _group(number: int) -> bytes:
    return number.to_bytes(8)


def _listed(
    name: Fingerprint,
    run: str,
    at_ms: int,
    code: str,
    group: int | None,
    score: float,
    reason: str | None,
) -> Row:
    source = TEACHER if reason is None else "heuristic"
    reasons = () if reason is None else (reason,)
    value = score if reason is None else 0.02
    return NewSample(
        name,
        source,
        value,
        run,
        at_ms,
        code,
        reasons,
        group_id=None if group is None else _group(group),
    ).row()


def _mark(name: Fingerprint, run: str, at_ms: int, criteria: list[float], number: int) -> Row:
    return {
        "key": name.row,
        "digest": name.digest,
        "criteria": json.dumps(criteria),
        "reasons": None,
        "group_id": _group(number // 8),
        "created_ms": at_ms,
        "last_used_s": at_ms // 1_000,
        "group_position": number % 8 + 1,
        "group_size": 8,
        "run": run,
    }
