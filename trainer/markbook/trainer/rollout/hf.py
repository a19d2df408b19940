"""Sampling: batched, with a key-value cache, each sample drawn from its own seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from markbook.trainer.model.device_tensors import to_device
from markbook.trainer.model.kv_cache import make_room
from markbook.trainer.model.policy import Policy
from markbook.trainer.types import Sample, Task

_FENCE = re.compile(r"^ {0,3}(`{3,})[^\n`]*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finished:
    """One row of a batch: its place, its tokens and their log-probabilities, and whether it was
    cut off by length.
    """

    row: int
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    truncated: bool


class Sampler:
    """Draws samples from a policy.

    What a sample becomes depends on its seeds alone, not on its batch companions.
    """

    def __init__(
        self, policy: Policy, *, temperature: float, max_new_tokens: int, batch_size: int, seed: int
    ) -> None:
        self._policy = policy
        self._temperature = temperature
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._seed = seed
        self._ended = Ending(policy)

    def groups(
        self,
        tasks: Sequence[Task],
        num_generations: int,
        seed_stream: tuple[int, ...],
        shard: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place, samples)` for every task as soon as its last sample is written.

        `seed_stream` names the draw (phase, step): the same one gives the same samples from the
        same policy. `shard`: the places of the tasks that are to be written, where others write the
        rest.
        """
        shard = range(len(tasks)) if shard is None else shard
        places = [place for place in shard for _ in range(num_generations)]
        draws = [
            uniforms
            for place in shard
            for uniforms in self._uniforms(num_generations, (*seed_stream, place))
        ]
        groups: dict[int, list[Sample | None]] = {
            place: [None] * num_generations for place in shard
        }
        updates = self._policy.updates
        with self._policy.folded():
            for start in range(0, len(places), self._batch_size):
                batch = places[start : start + self._batch_size]
                prompts = [tasks[place].token_ids for place in batch]
                for done in self._decode(
                    prompts, np.stack(draws[start : start + self._batch_size])
                ):
                    place, k = places[start + done.row], (start + done.row) % num_generations
                    text = self._policy.tokenizer.decode(done.ids, skip_special_tokens=True)
                    groups[place][k] = Sample(
                        tasks[place], done.ids, text, done.truncated, done.log_probs, updates
                    )
                    if all(groups[place]):
                        yield place, [sample for sample in groups[place] if sample]

    def close(self) -> None:
        """Nothing of it is left; `VllmSampler` may have a server to end."""

    def _uniforms(self, num_generations: int, seed_stream: tuple[int, ...]) -> np.ndarray:
        """(per_task, max_new_tokens): one generator per sample, one number per token."""
        shape = self._max_new_tokens
        return np.stack(
            [
                np.random.default_rng((self._seed, *seed_stream, k)).random(shape)
                for k in range(num_generations)
            ]
        )

    @torch.inference_mode()
    def _decode(self, prompts: Sequence[tuple[int, ...]], draws: np.ndarray) -> Iterator[Finished]:
        device = self._policy.device
        unique = list(dict.fromkeys(prompts))
        context = self._policy.read(unique)
        context.select(to_device([unique.index(prompt) for prompt in prompts], device))
        make_room(context.cache)
        uniforms = torch.from_numpy(draws).to(device)
        written: list[list[int]] = [[] for _ in prompts]
        log_probs: list[list[float]] = [[] for _ in prompts]
        rows = list(range(len(prompts)))
        for step in range(self._max_new_tokens):
            logits = self._policy.logits(context.hidden) / self._temperature
            tokens = draw(logits, uniforms[:, step])
            drawn = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
            # the one wait for the device per token; float64 holds every token id and every float32
            ids_read, drawn_read = torch.stack([tokens.double(), drawn.double()]).tolist()
            going: list[int] = []
            for i, (row, token, log_prob) in enumerate(
                zip(rows, ids_read, drawn_read, strict=True)
            ):
                written[row].append(int(token))
                log_probs[row].append(log_prob)
                ended = self._ended(written[row])
                if ended or step + 1 == self._max_new_tokens:
                    yield Finished(
                        row, tuple(written[row]), tuple(log_probs[row]), truncated=not ended
                    )
                else:
                    going.append(i)
            if not going:
                return
            if len(going) < len(rows):
                going = compact_rows(going)
                rows = [rows[i] for i in going]
                keep = to_device(going, device)
                context.select(keep)
                tokens, uniforms = tokens[keep], uniforms[keep]
            self._policy.extend(context, tokens[:, None])


def compact_rows(going: Sequence[int]) -> list[int]:
    """The rows that continue, in an order that moves as few as can be: the last take the places
    of those that ended.
    """
    stay, last = set(going), [row for row in going if row >= len(going)]
    return [row if row in stay else last.pop() for row in range(len(going))]


class Ending:
    """Where a sample ends: at an end token, or when its first fenced block is closed."""

    def __init__(self, policy: Policy) -> None:
        self._end_ids, self._tokenizer = policy.end_ids, policy.tokenizer
        vocabulary: dict[str, int] = policy.tokenizer.get_vocab()
        self._fence_ids = {token_id for token, token_id in vocabulary.items() if "`" in token}

    def __call__(self, ids: list[int]) -> bool:
        """Whether the last of `ids` is the last of the sample; to be asked for every token."""
        if ids[-1] in self._end_ids:
            return True
        return ids[-1] in self._fence_ids and holds_closed_block(self._tokenizer.decode(ids))


def holds_closed_block(text: str) -> bool:
    """Whether the first fenced block of `text` is closed: by a fence at least as long, on a line
    of its own.
    """
    opened = _FENCE.search(text)
    if opened is None:
        return False
    return re.compile(rf"^ {{0,3}}{opened[1]}", re.MULTILINE).search(text, opened.end()) is not None


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One token a row by inverting the cumulative distribution at `uniforms` (B,): exact, and
    blind to other rows.
    """
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    return tokens.squeeze(-1).clamp(max=logits.shape[-1] - 1)
