"""The name of a mark: readable key, profile, digest."""

from __future__ import annotations

import hashlib

from services.scoring.fingerprint import fingerprint, profile_of

PROFILE = "0123456789abcdef"


def test_the_readable_key_is_twelve_hex_digits_of_md5_each():
    made = fingerprint(PROFILE, "add two numbers", "def add(a, b): return a + b", "python")
    task = hashlib.md5(b"add two numbers").hexdigest()[:12]
    code = hashlib.md5(b"def add(a, b): return a + b").hexdigest()[:12]
    assert made.key == f"STUDENT:{task}:{code}:python"
    assert made.row == bytes.fromhex(PROFILE + task + code) + b"python"
    assert len(made.digest) == 32


def test_each_part_changes_the_digest():
    base = fingerprint(PROFILE, "task", "code", "python")
    others = [
        fingerprint("fedcba9876543210", "task", "code", "python"),
        fingerprint(PROFILE, "task ", "code", "python"),
        fingerprint(PROFILE, "task", "code ", "python"),
        fingerprint(PROFILE, "task", "code", "rust"),
        fingerprint(PROFILE, "taskcode", "", "python"),
        fingerprint(PROFILE, "tas", "kcode", "python"),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 7


def test_the_profile_depends_on_every_value_and_on_no_order():
    assert profile_of({"a": 1, "b": 2}) == profile_of({"b": 2, "a": 1})
    assert len({profile_of({"a": 1, "b": 2}), profile_of({"a": 1, "b": 3}), profile_of({"a": 1})}) == 3
    assert len(profile_of({})) == 16
