"""The name of a mark: readable key, profile, digest."""

from __future__ import annotations

import hashlib

import pytest

from markbook.scoring.fingerprint import fingerprint, hash_profile, hash_tests, read_key, read_row

PROFILE = "0123456789abcdef"


def test_the_readable_key_is_twelve_hex_digits_of_md5_each():
    made = fingerprint(PROFILE, "add two numbers", "def add(a, b): return a + b", "python")
    task = hashlib.md5(b"add two numbers").hexdigest()[:12]
    code = hashlib.md5(b"def add(a, b): return a + b").hexdigest()[:12]
    assert made.key == f"STUDENT:{task}:{code}:python"
    assert made.row == bytes.fromhex(PROFILE + task + code) + made.digest[:8] + b"python"
    assert len(made.digest) == 32


def test_a_row_names_its_fingerprint_and_a_key_its_parts():
    made = fingerprint(PROFILE, "task", "code", "a:b\nc")
    assert read_row(made.row, made.digest) == made
    assert read_key(made.key) == (made.prompt_hash, made.code_hash, "a:b\nc")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "STUDENT:0123456789ab:0123456789ab:",
        "STUDENT:0123456789AB:0123456789ab:c",
        "STUDENT:0123456789ab:c",
    ],
)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match="12 hex digits"):
        read_key(key)


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
    assert hash_profile({"a": 1, "b": 2}) == hash_profile({"b": 2, "a": 1})
    assert (
        len(
            {hash_profile({"a": 1, "b": 2}), hash_profile({"a": 1, "b": 3}), hash_profile({"a": 1})}
        )
        == 3
    )
    assert len(hash_profile({})) == 16


def test_tests_change_the_digest_and_nothing_else_and_their_absence_changes_nothing():
    base = fingerprint(PROFILE, "task", "code", "python")
    # as it was before there were tests
    assert base.digest.hex() == "eaeb1a925da56e5d2c4665ea51aef20911e6901684ada8f60cdb87d85c365a66"
    assert fingerprint(PROFILE, "task", "code", "python", hash_tests((), "setup")) == base
    several = [
        fingerprint(PROFILE, "task", "code", "python", hash_tests(tests, setup))
        for tests, setup in (
            (["a"], ""),
            (["a"], "setup"),
            (["a", "b"], ""),
            (["ab"], ""),
            (["b"], "a"),
        )
    ]
    assert {each.key for each in several} == {base.key}
    assert len({base.digest, *(each.digest for each in several)}) == 6
