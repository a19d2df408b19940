"""The cache that grows in place, against the one that copies; both on left-padded rows that come
and go.
"""

from __future__ import annotations

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from markbook.trainer.model.kv_cache import ROOM, RoomyLayer, make_room, select_rows
from markbook.trainer.rollout.hf import compact_rows
from tests.tiny import tiny_model, tiny_policy
from tests.unit.trainer.test_memory import sliding_model

PROMPTS = [[5, 6, 7, 8, 9], [20, 21]]


def kinds(context):
    return {type(layer) for layer in context.cache.layers}


@pytest.mark.parametrize("key_value_heads", [2, 4])  # of 4 heads: with and without grouped queries
@torch.inference_mode()
def test_it_says_what_the_cache_that_copies_says(key_value_heads):
    policy = tiny_policy(model=tiny_model(num_key_value_heads=key_value_heads))
    plain, roomy = policy.read(PROMPTS), policy.read(PROMPTS)
    make_room(roomy.cache)
    assert kinds(plain) == {DynamicLayer}
    assert kinds(roomy) == {RoomyLayer}
    generator = torch.Generator().manual_seed(0)
    # more rows, none less, fewer with some in others' places, more again
    for rows in ([0, 1, 1, 0, 1], [0, 1, 2, 3, 4], [0, 4, 2], [2, 0], [1, 1, 0, 1]):
        for context in (plain, roomy):
            context.select(torch.tensor(rows))
        for length in (1, 1, 3, ROOM, 1):
            ids = torch.randint(2, 258, (len(rows), length), generator=generator)
            assert torch.equal(policy.extend(roomy, ids), policy.extend(plain, ids))


@torch.inference_mode()
def test_nothing_is_copied_while_there_is_room_but_the_rows_that_move():
    policy = tiny_policy()
    context = policy.read([[5, 6, 7]] * 4)
    make_room(context.cache)
    policy.extend(context, torch.full((4, 1), 9))
    layer = context.cache.layers[0]
    there = layer.keys.data_ptr()
    last = layer.keys[3].clone()
    for _ in range(ROOM):
        policy.extend(context, torch.full((len(context.mask), 1), 9))
        if len(context.mask) == 4:
            context.select(torch.tensor([0, 3, 2]))
            assert torch.equal(layer.keys[1, :, :4], last)
    assert layer.keys.data_ptr() == there
    policy.extend(context, torch.full((3, 1), 9))
    assert layer.keys.data_ptr() != there


@torch.inference_mode()
def test_a_layer_with_a_sliding_window_stays_what_it_is():
    policy = tiny_policy(model=sliding_model())
    plain, roomy = policy.read(PROMPTS), policy.read(PROMPTS)
    make_room(roomy.cache)
    assert [type(layer) is RoomyLayer for layer in roomy.cache.layers] == [True, False]
    for rows in ([0, 1, 1], [0, 2]):
        for context in (plain, roomy):
            context.select(torch.tensor(rows))
        for _ in range(4):
            ids = torch.full((len(rows), 1), 30)
            assert torch.equal(policy.extend(roomy, ids), policy.extend(plain, ids))


def test_the_last_rows_take_the_places_of_those_that_ended():
    assert compact_rows([0, 1, 2]) == [0, 1, 2]
    assert compact_rows([0, 2, 3, 5]) == [0, 5, 2, 3]
    assert compact_rows([4, 5]) == [5, 4]


def test_the_gradient_of_repeated_rows_is_the_same_every_time():
    """Rows of two prompts in turns, as samples in the order of their lengths have them, and
    enough for two threads.
    """
    generator = torch.Generator().manual_seed(0)
    held = torch.rand(2, 3, 100, 64, generator=generator)
    weights = torch.rand(64, 3, 100, 64, generator=generator)
    rows = torch.tensor([0, 1] * 32)
    found = set()
    for _ in range(20):
        keys, values = held.clone().requires_grad_(), held.clone().requires_grad_()
        cache = DynamicCache()
        cache.update(keys, values, 0)
        select_rows(cache, rows)
        ((cache.layers[0].keys + cache.layers[0].values) * weights).sum().backward()
        assert torch.allclose(keys.grad, torch.stack([weights[0::2].sum(0), weights[1::2].sum(0)]))
        found |= {keys.grad.numpy().tobytes(), values.grad.numpy().tobytes()}
    assert len(found) == 1
