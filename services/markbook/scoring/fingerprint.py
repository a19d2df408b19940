"""What makes two requests the same mark: a readable key, a profile of everything else, and a
full hash of both.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHORT = 6
"""Bytes of MD5 in the readable key: 12 hex digits.

Too few to trust alone, hence the digest beside it.
"""
PROFILE = 8
"""Bytes of the profile: 16 hex digits."""
APART = 8
"""Bytes of the digest in a row's key: two samples whose short hashes are the same have a row
each.
"""
KEY = r"^STUDENT:([0-9a-f]{12}):([0-9a-f]{12}):([\s\S]+)$"
"""A readable key: prompt hash, code hash, language."""


def hash_profile(identity: Mapping[str, object]) -> str:
    """A short hash of everything a mark depends on besides task, code and language. 16 hex
    digits.
    """
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[: 2 * PROFILE]


@dataclass(frozen=True)
class Fingerprint:
    """One mark's name.

    Two samples are the same mark when, and only when, their digests are equal.
    """

    profile: str
    prompt_hash: bytes
    code_hash: bytes
    language: str
    digest: bytes

    @property
    def key(self) -> str:
        """The readable key, `STUDENT:{prompt_hash}:{code_hash}:{language}`."""
        return f"STUDENT:{self.prompt_hash.hex()}:{self.code_hash.hex()}:{self.language}"

    @property
    def row(self) -> bytes:
        """The primary key of the mark's row: profile, short hashes and the digest's start in
        binary, language.
        """
        return (
            prefix(self.profile, self.prompt_hash, self.code_hash)
            + self.digest[:APART]
            + self.language.encode()
        )


def hash_tests(tests: Sequence[str], setup: str) -> bytes | None:
    """SHA-256 of a sample's tests and their setup; None where there are no tests."""
    if not tests:
        return None
    return hashlib.sha256(b"".join(_sized(part.encode()) for part in (setup, *tests))).digest()


def fingerprint(
    profile: str, prompt: str, code: str, language: str, tests_digest: bytes | None = None
) -> Fingerprint:
    """Name the mark of `code` for the whole task `prompt`.

    `language` is canonical, `code` is extracted.

    With tests it is another mark than without, or with others; its readable key is the same.
    """
    task, text = prompt.encode(), code.encode()
    whole = _sized(profile.encode()) + _sized(task) + _sized(text) + _sized(language.encode())
    if (
        tests_digest is not None
    ):  # nothing is added without tests: marks made before there were any stay hits
        whole += _sized(tests_digest)
    return Fingerprint(
        profile, _short(task), _short(text), language, hashlib.sha256(whole).digest()
    )


def prefix(profile: str, *hashes: bytes) -> bytes:
    """The first bytes of the rows of a profile, or of one readable key in it."""
    return bytes.fromhex(profile) + b"".join(hashes)


def read_key(key: str) -> tuple[bytes, bytes, str]:
    """Prompt hash, code hash and language of a readable key.

    Raises ValueError when it is not one.
    """
    found = re.fullmatch(KEY, key)
    if found is None:
        raise ValueError(
            f"{key!r} is no key of a mark: STUDENT:, 12 hex digits, :, 12 hex digits, :, language"
        )
    return bytes.fromhex(found[1]), bytes.fromhex(found[2]), found[3]


def read_row(row: bytes, digest: bytes) -> Fingerprint:
    """The fingerprint whose `row` and `digest` these are."""
    prompt_at, code_at, digest_at = PROFILE, PROFILE + SHORT, PROFILE + 2 * SHORT
    language = row[digest_at + APART :].decode()
    return Fingerprint(
        row[:PROFILE].hex(), row[prompt_at:code_at], row[code_at:digest_at], language, digest
    )


def _sized(part: bytes) -> bytes:
    """The length in front keeps ("ab", "c") and ("a", "bc") apart."""
    return len(part).to_bytes(8, "big") + part


def _short(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()[:SHORT]
