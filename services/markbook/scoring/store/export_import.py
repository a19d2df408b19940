"""Export and import of marks: a header line, then a line of JSON per mark.

The header describes the profiles, so that a mark is never parted from what it depends on. Lines are
in the order of the rows' keys, which is the same in every database: a store copied to another
database is exported as the same bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from markbook.contract import KeptGroup, MarkRecord, ProfileId
from markbook.scoring.fingerprint import Fingerprint, fingerprint, hash_profile, read_key
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import MarkFilter, NewMark, Profile, Record, Store, Texts

BATCH = 200
"""Marks read or written at a time: what is in memory, texts and all."""


class ImportFailedError(Exception):
    """An invalid line. The lines before it have been imported."""


class ProfileLine(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    profile_inputs: dict[str, Any]
    criteria: list[str]
    created_at: AwareDatetime


class Header(BaseModel):
    """The first line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    markbook_export: Literal[2]
    profiles: dict[ProfileId, ProfileLine]


def to_wire(record: Record, rubric: Rubric) -> MarkRecord:
    mark = record.mark
    return MarkRecord(
        key=mark.fingerprint.key,
        profile=mark.fingerprint.profile,
        digest=mark.fingerprint.digest.hex(),
        language=mark.fingerprint.language,
        score=rubric.score(mark.criteria)
        if mark.criteria.keys() == rubric.criteria.keys()
        else None,
        criteria=dict(mark.criteria),
        reasons=list(mark.reasons),
        created_at=_time(record.created_ms),
        group=KeptGroup(id=record.group_id, position=mark.place, size=mark.shown),
        task=mark.texts.task if mark.texts else None,
        code=mark.texts.code if mark.texts else None,
        tests_digest=mark.texts.tests_digest.hex()
        if mark.texts and mark.texts.tests_digest
        else None,
    )


def header_of(profiles: Sequence[Profile]) -> Header:
    lines = {
        each.id: ProfileLine(
            profile_inputs=dict(each.identity),
            criteria=list(each.criteria),
            created_at=_time(each.created_ms),
        )
        for each in profiles
    }
    return Header(markbook_export=2, profiles=lines)


def pages(
    store: Store, profiles: Sequence[Profile], selection: MarkFilter
) -> Iterator[list[Record]]:
    """The marks of the profiles in key order, BATCH at a time; those added meanwhile may be
    included, at most once.
    """
    for profile in profiles:
        after = b""
        while page := store.records.page(profile.id, after, BATCH, selection):
            yield page
            after = page[-1].mark.fingerprint.row


def import_lines(store: Store, lines: Iterable[bytes], now_ms: int) -> Iterator[tuple[int, int]]:
    """Import marks; yields after each batch the numbers of marks read and of new ones.

    Raises ImportFailedError at the first line that is not one.
    """
    numbered = enumerate(lines, 1)
    known = _described(store, next(numbered, (1, b"")))
    batch: list[Record] = []
    for number, line in numbered:
        try:
            batch.append(_record(line, known))
        except ValueError as error:
            yield len(batch), store.records.add(batch, now_ms)
            raise ImportFailedError(f"line {number}: {_told(error)}") from error
        if len(batch) == BATCH:
            yield BATCH, store.records.add(batch, now_ms)
            batch = []
    yield len(batch), store.records.add(batch, now_ms)


def _described(store: Store, first: tuple[int, bytes]) -> Mapping[str, set[str]]:
    """Write the header's profiles down; returns the names of each one's criteria."""
    try:
        header = Header.model_validate_json(first[1].removeprefix(codecs.BOM_UTF8))
        for profile, line in header.profiles.items():
            if hash_profile(line.profile_inputs) != profile:
                raise ValueError(f"profile {profile} is not the hash of its profile_inputs")
            described = Profile(
                profile, line.profile_inputs, line.criteria, _milliseconds(line.created_at)
            )
            if set(store.records.register_profile(described).criteria) != set(line.criteria):
                raise ValueError(f"profile {profile} is stored with other criteria")
    except ValueError as error:
        raise ImportFailedError(f"line 1 is no header of an export: {_told(error)}") from error
    return {profile: set(line.criteria) for profile, line in header.profiles.items()}


def _record(line: bytes, known: Mapping[str, set[str]]) -> Record:
    """Raises ValueError for an invalid or inconsistent mark."""
    kept = MarkRecord.model_validate_json(line)
    if kept.profile not in known:
        raise ValueError(f"profile {kept.profile} is not in the first line")
    if set(kept.criteria) != known[kept.profile]:
        raise ValueError(
            f"the criteria of its profile are {', '.join(sorted(known[kept.profile]))}"
        )
    prompt_hash, code_hash, language = read_key(kept.key)
    name = Fingerprint(kept.profile, prompt_hash, code_hash, language, bytes.fromhex(kept.digest))
    if language != kept.language:
        raise ValueError(f"language is {kept.language!r}, but the key's is {language!r}")
    texts = None
    if kept.task is not None and kept.code is not None:
        texts = Texts(
            kept.task, kept.code, bytes.fromhex(kept.tests_digest) if kept.tests_digest else None
        )
    if (
        texts
        and fingerprint(kept.profile, texts.task, texts.code, language, texts.tests_digest) != name
    ):
        raise ValueError("key and digest are not those of its task and code")
    mark = NewMark(name, kept.criteria, kept.reasons, kept.group.position, kept.group.size, texts)
    return Record(mark, _milliseconds(kept.created_at), kept.group.id)


def _told(error: ValueError) -> str:
    """In one line, without what pydantic adds to it."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
