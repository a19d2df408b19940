"""The student as a policy: reading prompts, extending them, and the log-probabilities of what it wrote.

A group's samples share their prompt, so the prompt is read once and its key-value cache handed to every sample, with
gradients: the same numbers as reading each row whole, at about half the work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from markbook.config.loading import ConfigError
from markbook.trainer.model.fused_logprobs import chosen_log_probs, exact_kl
from markbook.trainer.model.gradient_checkpointing import checkpointed, find_layers
from markbook.trainer.model.kv_cache import gather_rows, select_rows
from markbook.trainer.model.merged_weights import folded
from markbook.trainer.types import Sample

CPU_STRETCH = 64
"""What it costs to read rows in one more stretch, in tokens. On a GPU, which works on long stretches while the next
one's kernels are launched, it would seldom pay: there they are read in one."""


@dataclass(slots=True)
class Context:
    """Tokens already read, B rows, left-padded.

    `mask` (B, S) is 0 on padding, `positions` (B,) the position of the next token, `hidden` (B, H) the decoder's last
    state, from which the next token is predicted.
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


@dataclass(slots=True)
class Read:
    """Places that were read for log-probabilities, and how many of them held padding."""

    places: int = 0
    padding: int = 0

    def add(self, lengths: Sequence[int]) -> None:
        """Rows of these lengths, made as long as the longest."""
        places = len(lengths) * max(lengths)
        self.places += places
        self.padding += places - sum(lengths)


class LanguageModel:
    """A causal language model in two parts: a decoder, and a frozen head on its last state."""

    def __init__(self, causal_lm: Any) -> None:
        self.was_read = Read()
        self.device: torch.device = causal_lm.device
        self._causal_lm = causal_lm
        self._decoder = causal_lm.get_decoder()
        self._head = causal_lm.get_output_embeddings()

    def read(self, prompts: Sequence[Sequence[int]]) -> Context:
        """Read B prompts of any lengths."""
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self._decoder(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
        return Context(out.past_key_values, mask, positions[:, -1] + 1, out.last_hidden_state[:, -1])

    def extend(self, context: Context, ids: Tensor) -> Tensor:
        """Read `ids` (B, T) after what `context` holds; returns the states (B, T, H). Pad on the right: causal
        attention keeps what stands there from the tokens before it."""
        steps = torch.arange(ids.shape[1], device=self.device)
        context.mask = torch.cat([context.mask, torch.ones_like(ids)], dim=1)
        out = self._decoder(
            input_ids=ids,
            attention_mask=context.mask,
            position_ids=context.positions[:, None] + steps,
            past_key_values=context.cache,
            use_cache=True,
        )
        context.positions = context.positions + ids.shape[1]
        states: Tensor = out.last_hidden_state
        context.hidden = states[:, -1]
        return states

    def logits(self, states: Tensor) -> Tensor:
        """(N, H) -> (N, V) in float32."""
        logits: Tensor = self._head(states)
        return logits.float()

    def states(self, samples: Sequence[Sample]) -> Tensor:
        """The states (N, H) from which the samples' tokens are predicted, N the sum of their lengths, sample after
        sample."""
        prompts = {sample.task.token_ids: None for sample in samples}
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        order = sorted(range(len(samples)), key=lambda place: -len(samples[place].ids))
        context = self.read(list(prompts))
        context.select(torch.tensor([row_of[samples[place].task.token_ids] for place in order], device=self.device))
        self.was_read.add([len(prompt) for prompt in prompts])
        written = [samples[place].ids for place in order]  # the longest first: those that have ended are the last
        width = len(written[0])
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in written], device=self.device)
        found, start = [context.hidden[:, None]], 0
        to_read = [len(row) - 1 for row in written]
        for end in stretches(to_read, CPU_STRETCH if self.device.type == "cpu" else sys.maxsize):
            going = sum(length > start for length in to_read)
            if going < len(context.mask):
                context.select(torch.arange(going, device=self.device))
            states = self.extend(context, ids[:going, start:end])
            found.append(functional.pad(states, (0, 0, 0, 0, 0, len(written) - going)))
            self.was_read.add([min(length, end) - start for length in to_read[:going]])
            start = end
        place_of = torch.tensor(order, device=self.device).argsort()
        lengths = torch.tensor([len(sample.ids) for sample in samples], device=self.device)
        return torch.cat(found, dim=1)[place_of][torch.arange(width, device=self.device) < lengths[:, None]]

    def log_probs(self, samples: Sequence[Sample], temperature: float, states: Tensor | None = None) -> Tensor:
        """Log-probabilities (N,) float32 of the samples' tokens under the distribution they are drawn from.

        `states`: theirs, where they are there already. No (B, T, V) tensor is kept.
        """
        states = self.states(samples) if states is None else states
        ids = torch.tensor([token for sample in samples for token in sample.ids], device=self.device)
        return chosen_log_probs(states, ids, self._head.weight, self._head.bias, temperature)

    def exact_kl(self, states: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """KL (N,) over the vocabulary, nats, of this model's `states` from those of a reference with the same head."""
        return exact_kl(states, reference, self._head.weight, self._head.bias, temperature)


class Policy(LanguageModel):
    """A PEFT model and its tokenizer. Dropout is off but for the adapter's inside `learning()`: with the base's own, it
    would not be the policy that drew the samples. `updates`: optimizer steps so far.

    `gradient_checkpointing`: keep less for the backward pass, and compute it again there.
    """

    def __init__(self, model: PeftModel, tokenizer: Any, gradient_checkpointing: bool = False) -> None:
        super().__init__(model.get_base_model())
        self.model = model
        self.tokenizer = tokenizer
        self.updates = 0
        self._gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing and not find_layers(self._decoder):
            raise ConfigError(
                f"training.gradient_checkpointing: a model of type {self._causal_lm.config.model_type} has no layers "
                "that can be computed again"
            )
        if type(self._head) is not torch.nn.Linear:
            raise ConfigError("training.lora_target_modules names the output head, which has to stay frozen")
        self.end_ids = _end_ids(self._causal_lm, tokenizer)
        self._probe()

    @property
    def trainable(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    @contextmanager
    def learning(self) -> Iterator[None]:
        """For a forward pass with gradients, and its backward pass: dropout on, if the adapter has any."""
        dropouts = [module.lora_dropout for module in self.model.modules() if isinstance(module, LoraLayer)]
        try:
            for dropout in dropouts:
                dropout.train()
            with checkpointed(self._decoder) if self._gradient_checkpointing else nullcontext():
                yield
        finally:
            for dropout in dropouts:
                dropout.eval()

    def folded(self) -> AbstractContextManager[None]:
        """Faster without gradients, for sampling; the same policy to float noise."""
        return folded(self.model, self._head)

    def save_adapter(self, folder: Path) -> None:
        """In PEFT's own format: `PeftModel.from_pretrained(base, folder)` loads it."""
        self.model.save_pretrained(str(folder), save_embedding_layers=False)

    def load_adapter(self, folder: Path) -> None:
        """Put a saved adapter in the place of this one. Raises ConfigError where it does not fit."""
        weights = load_file(folder / "adapter_model.safetensors", device=str(self.device))
        try:
            set_peft_model_state_dict(self.model, weights)
        except RuntimeError as error:
            raise ConfigError(f"the adapter in {folder} does not fit this model: training.lora_* differ") from error

    @torch.inference_mode()
    def _probe(self) -> None:
        """Refuse a model that does more after its decoder than one head, or does not keep its past in a cache."""
        ids = list(range(8))
        model = self._causal_lm
        whole = model(input_ids=torch.tensor([ids], device=self.device)).logits[0, -1].float()
        context = self.read([ids[:3], ids[:5]])
        context.select(torch.tensor([0], device=self.device))
        parts = self.logits(self.extend(context, torch.tensor([ids[3:]], device=self.device))[0, -1:])[0]
        tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
        if not torch.allclose(whole, parts, rtol=0, atol=tolerance * float(whole.abs().max())):
            raise ConfigError(
                f"a model of type {model.config.model_type} cannot be trained here: its logits are not its head "
                "applied to its decoder's last state (soft caps and scaled logits are not supported)"
            )


def stretches(lengths: Sequence[int], overhead: int) -> list[int]:
    """The ends of the stretches in which to read rows of these lengths, if those that have ended leave between two.

    The cheapest there are: a stretch costs its length times the rows that are still there, and `overhead`, in tokens.
    """
    ends = sorted({0, *lengths})
    best: dict[int, tuple[int, list[int]]] = {ends[-1]: (0, [])}
    for place in reversed(range(len(ends) - 1)):
        start = ends[place]
        going = sum(length > start for length in lengths)
        best[start] = min(
            (overhead + going * (end - start) + best[end][0], [end, *best[end][1]]) for end in ends[place + 1 :]
        )
    return best[0][1]


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*ids, tokenizer.eos_token_id) if token is not None)
