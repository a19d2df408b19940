"""How waiting threads are told to wait: as we say, unless the user has said it."""

from __future__ import annotations

import os

import pytest

from markbook.trainer.utils.cpu_threads import SPINS, limit_spinning

KEYS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
    ],
)
def test_what_the_user_said_stays(monkeypatch, said, then):
    for key in KEYS:
        monkeypatch.setenv(key, "")  # so that it is put back
        monkeypatch.delenv(key)
    for key, value in said.items():
        monkeypatch.setenv(key, value)
    limit_spinning()
    assert {key: os.environ[key] for key in KEYS if key in os.environ} == then
