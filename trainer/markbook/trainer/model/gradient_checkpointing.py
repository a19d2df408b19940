"""Gradient checkpointing that keeps the key-value cache: a layer's inside is computed again in the
backward pass.

What transformers brings switches the cache off, and with it the prompt that the samples of a group
share.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

Forward = Callable[..., Any]

_CACHE_NAMES = ("past_key_values", "layer_past", "cache_params")
"""How the layers of different models name their cache."""


def find_layers(decoder: nn.Module) -> list[nn.Module]:
    """The layers that can be computed again, in their order; none in a model that was not
    written for it.
    """
    return [
        module for module in decoder.modules() if isinstance(module, GradientCheckpointingLayer)
    ]


@contextmanager
def checkpointed(decoder: nn.Module) -> Iterator[None]:
    """Inside, `decoder` keeps a layer's input for the backward pass, and of its cache what was
    there before it.

    The backward pass may come later, in the same train or eval mode. Source:
    https://arxiv.org/abs/1604.06174.
    """
    layers = find_layers(decoder)
    try:
        for place, layer in enumerate(layers):
            vars(layer)["forward"] = _checkpointed(layer.forward, place)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _checkpointed(forward: Forward, place: int) -> Forward:
    def kept(hidden: Tensor, *args: Any, **more: Any) -> Any:
        name = next((name for name in _CACHE_NAMES if more.get(name) is not None), None)
        if name is None:  # rows are read whole, without a cache
            return checkpoint(
                lambda states: forward(states, *args, **more), hidden, use_reentrant=False
            )
        cache = more.pop(name)
        before = copy.copy(cache.layers[place])
        # Of the other layers' caches nothing: what was held of them would stay in memory until the
        # backward pass.
        alone = copy.copy(cache)
        alone.layers = [None] * place

        def run(states: Tensor) -> tuple[Any, Any]:
            # a layer writes into its cache, so each time it is computed it gets what was there
            # before
            again, own = copy.copy(alone), copy.copy(before)
            again.layers = [*alone.layers, own]
            return forward(states, *args, **{name: again}, **more), own

        after, cache.layers[place] = checkpoint(run, hidden, use_reentrant=False)
        return after

    return kept
