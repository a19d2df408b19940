"""Reading completions in stretches, without the rows that have ended: what it says, learns and
saves.
"""

from __future__ import annotations

import itertools
import sys

import pytest
import torch

from markbook.trainer.model.policy import Read, stretches
from tests.tiny import tiny_model, tiny_policy
from tests.tolerance import LOG_PROBS, TINY_MODEL
from tests.unit.trainer.model.test_policy import (
    SAMPLES,
    TEMPERATURE,
    float64_model,
    gradient,
    naive_log_probs,
)
from tests.unit.trainer.test_memory import sliding_model, training

# what SAMPLES (completions of 5, 2, 3, 1 and 8 tokens, each read but for the last) are read in
ENDS = [1, 2, 4, 7]


def reading(monkeypatch, overhead):
    monkeypatch.setattr("markbook.trainer.model.policy.CPU_STRETCH", overhead)


def test_a_stretch_ends_where_enough_rows_do():
    assert stretches([4, 1, 2, 0, 7], overhead=0) == ENDS
    assert stretches([4, 1, 2, 0, 7], overhead=sys.maxsize) == [7]
    assert stretches([5, 5], overhead=0) == [5]
    assert stretches([0, 0], overhead=0) == []
    # three rows less over ten tokens
    assert stretches([20, 10, 10, 10], overhead=29) == [10, 20]
    assert stretches([20, 10, 10, 10], overhead=31) == [20]


@pytest.mark.parametrize("overhead", [0, 5, 20])
def test_no_other_stretches_would_cost_less(overhead):
    lengths = [11, 3, 7, 7, 2, 0, 10]

    def cost(ends):
        steps = itertools.pairwise([0, *ends])
        return sum(
            overhead + (end - start) * sum(length > start for length in lengths)
            for start, end in steps
        )

    inner = [length for length in sorted(set(lengths)) if 0 < length < 11]
    cuts = itertools.chain.from_iterable(
        itertools.combinations(inner, n) for n in range(len(inner) + 1)
    )
    assert cost(stretches(lengths, overhead)) == min(cost([*cut, 11]) for cut in cuts)


@pytest.mark.parametrize("model", [tiny_model, sliding_model])
def test_in_stretches_the_states_are_the_same(monkeypatch, model):
    policy = tiny_policy(model=model())
    whole = policy.states(SAMPLES)
    reading(monkeypatch, 0)
    torch.testing.assert_close(policy.states(SAMPLES), whole, rtol=0, atol=LOG_PROBS)


def test_in_stretches_log_probs_equal_a_plain_float64_forward(monkeypatch):
    reading(monkeypatch, 0)
    policy = tiny_policy()
    plain = torch.cat(
        [naive_log_probs(float64_model(policy, adapter=True), one) for one in SAMPLES]
    )
    torch.testing.assert_close(
        policy.log_probs(SAMPLES, TEMPERATURE).double(), plain, rtol=0, atol=LOG_PROBS
    )


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("size", [3, 5])
def test_in_stretches_the_gradient_is_the_same(monkeypatch, checkpointing, size):
    policy = tiny_policy(training(gradient_checkpointing=checkpointing))
    whole = gradient(policy, size, 0.3)
    reading(monkeypatch, 0)
    calls: list[int] = []
    extend = policy.extend
    monkeypatch.setattr(
        policy, "extend", lambda context, ids: calls.append(len(ids)) or extend(context, ids)
    )
    parts = gradient(policy, size, 0.3)
    assert len(set(calls)) > 1  # rows have left
    assert whole.norm() > 0.01
    assert (parts - whole).norm() / whole.norm() < TINY_MODEL


def test_what_is_read_in_stretches_is_counted_as_it_is_read(monkeypatch):
    policy = tiny_policy()
    prompts = Read(places=3 * 7, padding=5 + 4)
    stairs = (0, 4 * 1 + 3 * 1 + 2 * 2 + 1 * 3, 0), (6, 4 * 2 + 2 * 5, 1 + 3), (99, 4 * 7, 14)
    for overhead, places, padding in stairs:
        reading(monkeypatch, overhead)
        policy.was_read = Read()
        policy.states(SAMPLES)
        assert policy.was_read == Read(prompts.places + places, prompts.padding + padding)
