"""Key-value caches: rows repeated with the same gradient every time, and, for sampling, room for
new tokens.

There a new token's keys and values are written behind the others, which stay in place: the cache
that transformers brings copies all it holds for every token, in every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    DynamicCache,
    DynamicLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

ROOM = 64
"""Tokens a buffer has room for when it is reallocated."""


@dataclass(slots=True)
class Context:
    """Tokens already read, B rows, left-padded.

    `mask` (B, S) is 0 on padding, `positions` (B,) the position of the next token, `hidden` (B, H)
    the decoder's last state, from which the next token is predicted.
    """

    cache: Any
    mask: Tensor
    positions: Tensor
    hidden: Tensor

    def select(self, rows: Tensor) -> None:
        """Keep, drop or repeat rows, in place."""
        select_rows(self.cache, rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        self.hidden = gather_rows(self.hidden, rows)


def make_room(cache: Any) -> None:
    """Let `cache` grow in place from now on: the same numbers, but no gradients through it.

    Layers of another kind, as those with a sliding window, stay what they are, and so do those that
    hold nothing.
    """
    cache.layers = list(map(_with_room, cache.layers))


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """`keys` and `values` (B, H, S, D) are the parts of two larger buffers that are written."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._buffers = self.keys, self.values = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Takes up what is new (B, H, T, D); returns what there is of keys and values (B, H, S +
        T, D).
        """
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = _roomy(self.keys, end + ROOM), _roomy(self.values, end + ROOM)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:end, :] = new
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """As ever; where the rows do not become more, only those that change their place are
        copied.
        """
        length, rows = self.get_seq_length(), len(indices)
        if rows > len(self.keys):
            super().batch_select_indices(indices)
            self._buffers = self.keys, self.values
            return
        moved = (indices != torch.arange(rows, device=indices.device)).nonzero()[:, 0]
        for buffer in self._buffers:
            buffer[moved, :, :length] = buffer[indices[moved], :, :length]
        self._buffers = self._buffers[0][:rows], self._buffers[1][:rows]
        self.keys, self.values = (buffer[..., :length, :] for buffer in self._buffers)


def has_recurrent_state(config: Any) -> bool:
    """Whether a model of this config keeps states of linear attention, of a convolution or of a
    state space.

    Such a state is overwritten in place for every token, which leaves nothing to take a gradient
    through.
    """
    layers = DynamicCache(config=config).layers
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def select_rows(cache: Any, rows: Tensor) -> None:
    """Keep, drop or repeat rows of a cache, in place, as `gather_rows` does."""
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            _select_recurrent_rows(layer, rows)
        elif (
            type(layer).batch_select_indices is DynamicLayer.batch_select_indices
            and layer.get_seq_length() > 0
        ):
            layer.keys, layer.values = (
                gather_rows(layer.keys, rows),
                gather_rows(layer.values, rows),
            )
        else:
            layer.batch_select_indices(rows)


def _select_recurrent_rows(layer: Any, rows: Any) -> None:
    """transformers calls it `reorder_cache` there; a layer that has attention beside it has keys
    and values as well.
    """
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    LinearAttentionLayer.reorder_cache(layer, rows)
    if keys is not None and values is not None and layer.get_seq_length() > 0:
        layer.keys, layer.values = gather_rows(keys, rows), gather_rows(values, rows)


def gather_rows(held: Tensor, rows: Tensor) -> Tensor:
    """`held[rows]`, with a gradient that is the same in every run.

    That of a row that is repeated is a sum. Indexing adds it up on a CPU in the order in which
    threads get to it, so that two runs of one seed would part in their last digits and then in what
    is drawn; index_select does so on a GPU. Source: the list at torch.use_deterministic_algorithms.
    """
    return held.index_select(0, rows) if held.device.type == "cpu" else held[rows]


def _with_room(layer: Any) -> Any:
    grows = type(layer) is DynamicLayer and layer.is_initialized
    return RoomyLayer(layer.keys, layer.values) if grows else layer


def _roomy(held: Tensor, length: int) -> Tensor:
    room = held.new_empty(*held.shape[:-2], length, held.shape[-1])
    room[..., : held.shape[-2], :] = held
    return room
