"""The student as a policy: reading prompts, extending them, and the log-probabilities of what it
wrote.

A group's samples share their prompt, so the prompt is read once and its key-value cache handed to
every sample, with gradients: the same numbers as reading each row whole, at about half the work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from markbook.config.loading import ConfigError
from markbook.trainer.model.device_tensors import out_of_memory, to_device
from markbook.trainer.model.fused_logprobs import (
    chosen_log_probs,
    chosen_log_probs_and_entropy,
    exact_kl,
)
from markbook.trainer.model.gradient_checkpointing import checkpointed, find_layers
from markbook.trainer.model.kv_cache import Context, gather_rows, has_recurrent_state
from markbook.trainer.model.merged_weights import folded
from markbook.trainer.model.output_head import OutputHead, read_transform
from markbook.trainer.types import Sample, Task

CPU_STRETCH = 64
"""What it costs to read rows in one more stretch, in tokens. On a GPU, which works on long
stretches while the next one's kernels are launched, it would seldom pay: there they are read in
one.
"""


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
        config = causal_lm.config.get_text_config(decoder=True)
        self._transform = read_transform(config)
        self._reads_whole_rows = has_recurrent_state(config)
        takes = signature(self._decoder.forward).parameters
        self._cache_name = "cache_params" if "cache_params" in takes else "past_key_values"

    def read(self, prompts: Sequence[Sequence[int]]) -> Context:
        """Read B prompts of any lengths."""
        width = max(map(len, prompts))
        ids = to_device([[0] * (width - len(p)) + list(p) for p in prompts], self.device)
        mask = to_device([[0] * (width - len(p)) + [1] * len(p) for p in prompts], self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self._decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True
        )
        cache = getattr(out, self._cache_name)
        return Context(cache, mask, positions[:, -1] + 1, out.last_hidden_state[:, -1])

    def extend(self, context: Context, ids: Tensor) -> Tensor:
        """Read `ids` (B, T) after what `context` holds; returns the states (B, T, H). Pad on the
        right: with causal attention no token attends to padding after it.
        """
        steps = torch.arange(ids.shape[1], device=self.device)
        context.mask = torch.cat([context.mask, torch.ones_like(ids)], dim=1)
        out = self._decoder(
            input_ids=ids,
            attention_mask=context.mask,
            position_ids=context.positions[:, None] + steps,
            use_cache=True,
            **{self._cache_name: context.cache},
        )
        context.positions = context.positions + ids.shape[1]
        states: Tensor = out.last_hidden_state
        context.hidden = states[:, -1]
        return states

    def logits(self, states: Tensor) -> Tensor:
        """(N, H) -> (N, V) in float32."""
        logits: Tensor = self._head(states)
        return self._transform.apply(logits.float())

    def states(self, samples: Sequence[Sample]) -> Tensor:
        """The states (N, H) from which the samples' tokens are predicted, N the sum of their
        lengths, sample after sample.
        """
        return (
            self._states_of_whole_rows(samples)
            if self._reads_whole_rows
            else self._states_by_prompt(samples)
        )

    def _states_of_whole_rows(self, samples: Sequence[Sample]) -> Tensor:
        """Each sample and its prompt in one row, without a cache: a recurrent state has no
        gradient to share.
        """
        rows = [[*sample.task.token_ids, *sample.ids[:-1]] for sample in samples]
        width = max(map(len, rows))
        token_ids = to_device([row + [0] * (width - len(row)) for row in rows], self.device)
        hidden_states: Tensor = self._decoder(
            input_ids=token_ids, use_cache=False
        ).last_hidden_state
        self.was_read.add([len(row) for row in rows])
        places: list[int] = []
        for row, sample in enumerate(samples):
            end = row * width + len(rows[row])
            places += range(end - len(sample.ids), end)
        return gather_rows(hidden_states.flatten(0, 1), to_device(places, self.device))

    def _states_by_prompt(self, samples: Sequence[Sample]) -> Tensor:
        """Each prompt once, its cache shared by its samples, in stretches that leave out rows
        that have ended.
        """
        prompts = {sample.task.token_ids: None for sample in samples}
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        order = sorted(range(len(samples)), key=lambda place: -len(samples[place].ids))
        context = self.read(list(prompts))
        context.select(
            to_device([row_of[samples[place].task.token_ids] for place in order], self.device)
        )
        self.was_read.add([len(prompt) for prompt in prompts])
        written = [
            samples[place].ids for place in order
        ]  # the longest first: those that have ended are the last
        width = len(written[0])
        ids = to_device([[*row, *[0] * (width - len(row))] for row in written], self.device)
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
        row_of_sample = {place: row for row, place in enumerate(order)}
        places: list[int] = []
        for place, sample in enumerate(samples):
            start = row_of_sample[place] * width
            places += range(start, start + len(sample.ids))
        return gather_rows(torch.cat(found, dim=1).flatten(0, 1), to_device(places, self.device))

    def log_probs(
        self, samples: Sequence[Sample], temperature: float, states: Tensor | None = None
    ) -> Tensor:
        """Log-probabilities (N,) float32 of the samples' tokens under the distribution they are
        drawn from.

        `states`: theirs, where they are there already. No (B, T, V) tensor is kept.
        """
        states = self.states(samples) if states is None else states
        ids = to_device([token for sample in samples for token in sample.ids], self.device)
        return chosen_log_probs(states, ids, self._output_head(), temperature)

    def log_probs_and_entropy(
        self, samples: Sequence[Sample], temperature: float, states: Tensor, entropy_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """`log_probs`, and the entropy (N,) of each token's distribution, nats."""
        ids = to_device([token for sample in samples for token in sample.ids], self.device)
        return chosen_log_probs_and_entropy(
            states, ids, self._output_head(), temperature, entropy_gradient
        )

    def exact_kl(self, states: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """KL (N,) over the vocabulary, nats, of this model's `states` from those of a reference
        with the same head.
        """
        return exact_kl(states, reference, self._output_head(), temperature)

    def _output_head(self) -> OutputHead:
        return OutputHead(self._head.weight, self._head.bias, self._transform)


class Policy(LanguageModel):
    """A PEFT model and its tokenizer. Dropout is off but for the adapter's inside `learning()`:
    with the base's own, it would not be the policy that drew the samples. `updates`: optimizer
    steps so far.

    `gradient_checkpointing`: keep less for the backward pass, and compute it again there.
    """

    def __init__(
        self, model: PeftModel, tokenizer: Any, gradient_checkpointing: bool = False
    ) -> None:
        super().__init__(model.get_base_model())
        self.model = model
        self.tokenizer = tokenizer
        self.updates = 0
        self._gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing and not find_layers(self._decoder):
            raise ConfigError(
                "training.gradient_checkpointing: a model of type "
                f"{self._causal_lm.config.model_type} has no layers that can be computed again"
            )
        if type(self._head) is not torch.nn.Linear:
            raise ConfigError(
                "training.lora_target_modules names the output head, which has to stay frozen"
            )
        self.end_ids = _end_ids(self._causal_lm, tokenizer)
        self._probe()

    @property
    def trainable(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    @contextmanager
    def learning(self) -> Iterator[None]:
        """For a forward pass with gradients, and its backward pass: dropout on, if the adapter
        has any.
        """
        dropouts = [
            module.lora_dropout for module in self.model.modules() if isinstance(module, LoraLayer)
        ]
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
        """Put a saved adapter in the place of this one.

        Raises ConfigError where it does not fit.
        """
        weights = load_file(folder / "adapter_model.safetensors", device=str(self.device))
        try:
            set_peft_model_state_dict(self.model, weights)
        except RuntimeError as error:
            raise ConfigError(
                f"the adapter in {folder} does not fit this model: training.lora_* differ"
            ) from error

    def _probe(self) -> None:
        """Compare logits read in parts with the model's own forward pass.

        Raises ConfigError where they differ.
        """
        model_type = self._causal_lm.config.model_type
        try:
            gap = self._gap_to_plain_forward()
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error) from error
        except (
            Exception
        ) as error:  # an unknown architecture may fail in any way: refused before a run starts
            raise ConfigError(
                f"a model of type {model_type} cannot be trained here: reading it in parts failed "
                f"with {type(error).__name__}: {' '.join(str(error).split())}. "
                f"{self._other_choice()}"
            ) from error
        tolerance = 1e-3 if self._causal_lm.dtype == torch.float32 else 5e-2
        if not gap <= tolerance:
            raise ConfigError(
                f"a model of type {model_type} cannot be trained here: its logits are not its "
                "output head, scale and soft cap applied to its decoder's last hidden state "
                f"(relative difference {gap:.2g}, at most {tolerance:g}). {self._other_choice()}"
            )

    def _other_choice(self) -> str:
        """What to do about a model that cannot be read in parts.

        Other attention kernels than torch's may be why.
        """
        attention = self._causal_lm.config._attn_implementation
        if attention in ("eager", "sdpa"):
            return "Choose another training.model"
        return (
            f"Set training.attn_implementation: sdpa (it is {attention}), or choose another "
            "training.model"
        )

    @torch.inference_mode()
    def _gap_to_plain_forward(self) -> float:
        """The largest difference of logits from the model's own forward pass, relative to the
        largest logit: once read as for sampling (a padded prompt, a selected row, two tokens), once
        as for learning.
        """
        token_ids = list(range(8))
        plain = (
            self._causal_lm(input_ids=torch.tensor([token_ids], device=self.device))
            .logits[0]
            .float()
        )
        context = self.read([token_ids[:4], token_ids[:6]])
        context.select(torch.tensor([1, 0], device=self.device))
        self.extend(context, torch.tensor([[6], [4]], device=self.device))
        self.extend(context, torch.tensor([[7], [5]], device=self.device))
        sampled = self.logits(context.hidden)
        task = Task(0, "", "", tuple(token_ids[:4]))
        samples = [
            Sample(task, tuple(token_ids[4:6]), "", False, ()),
            Sample(task, tuple(token_ids[4:]), "", False, ()),
        ]
        learned = self.logits(self.states(samples))
        self.was_read = Read()
        expected = torch.cat([plain[[7, 5]], plain[3:5], plain[3:7]])
        return float((torch.cat([sampled, learned]) - expected).abs().max() / plain.abs().max())


def stretches(lengths: Sequence[int], overhead: int) -> list[int]:
    """The ends of the stretches in which to read rows of these lengths, if those that have ended
    leave between two.

    The cheapest there are: a stretch costs its length times the rows that are still there, and
    `overhead`, in tokens.
    """
    ends = sorted({0, *lengths})
    best: dict[int, tuple[int, list[int]]] = {ends[-1]: (0, [])}
    for place in reversed(range(len(ends) - 1)):
        start = ends[place]
        going = sum(length > start for length in lengths)
        best[start] = min(
            (overhead + going * (end - start) + best[end][0], [end, *best[end][1]])
            for end in ends[place + 1 :]
        )
    return best[0][1]


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*ids, tokenizer.eos_token_id) if token is not None)
