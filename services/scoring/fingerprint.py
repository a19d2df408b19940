"""What makes two requests the same mark: a readable key, a profile of everything else, and a full hash of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

SHORT = 6
"""Bytes of MD5 in the readable key: 12 hex digits. Too few to trust alone, hence the digest beside it."""
PROFILE = 8
"""Bytes of the profile: 16 hex digits."""


def profile_of(identity: Mapping[str, object]) -> str:
    """A short hash of everything a mark depends on besides task, code and language. 16 hex digits."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[: 2 * PROFILE]


@dataclass(frozen=True)
class Fingerprint:
    """One mark's name. Two samples are the same mark when, and only when, their digests are equal."""

    profile: str
    prompt_hash: bytes
    code_hash: bytes
    language: str
    digest: bytes

    @cached_property
    def key(self) -> str:
        """The readable key, `STUDENT:{prompt_hash}:{code_hash}:{language}`."""
        return f"STUDENT:{self.prompt_hash.hex()}:{self.code_hash.hex()}:{self.language}"

    @cached_property
    def row(self) -> bytes:
        """Profile and readable key in binary: the primary key of the mark's row."""
        return bytes.fromhex(self.profile) + self.prompt_hash + self.code_hash + self.language.encode()


def fingerprint(profile: str, prompt: str, code: str, language: str) -> Fingerprint:
    """Name the mark of `code` for the whole task `prompt`. `language` is canonical, `code` is extracted."""
    task, text = prompt.encode(), code.encode()
    digest = hashlib.sha256()
    for part in (profile.encode(), task, text, language.encode()):
        # the length in front keeps ("ab", "c") and ("a", "bc") apart
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Fingerprint(profile, _short(task), _short(text), language, digest.digest())


def _short(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()[:SHORT]
