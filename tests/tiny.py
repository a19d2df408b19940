"""A tiny randomly initialised student, for tests of the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from markbook.config.settings import Training
from markbook.trainer.model.loading import add_adapter
from markbook.trainer.model.policy import Policy

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def tiny_tokenizer() -> Any:
    """Bytes as words, and two special tokens: no training, every text can be written."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        padding_side="left",
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny_model(dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    """Three layers, grouped-query attention, weights large enough that the next token is no coin
    toss.
    """
    settings = {
        "vocab_size": 258,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**(settings | more))).to(dtype)


def tiny_policy(training: Training | None = None, moved: bool = True, model: Any = None) -> Policy:
    """A policy on the tiny model, or on `model`; `moved`: its adapter is away from its start, so
    that it changes something.
    """
    training = training or Training(lora_r=4, lora_alpha=8)
    model = tiny_model() if model is None else model
    policy = Policy(add_adapter(model, training), tiny_tokenizer(), training.gradient_checkpointing)
    if moved:
        move_adapter(policy)
    return policy


def move_adapter(policy: Policy, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def save_tiny_student(folder: Path) -> None:
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
