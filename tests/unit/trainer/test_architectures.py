"""Which students can be trained: tiny random models of many architectures, against their own plain forward pass.

Each covers log-probabilities of policy and reference, the gradient of a loss with KL, sampling, and the adapter loaded
again by PEFT. The whole table is a long test; the short part has one model for each way of reading or adapting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Training
from markbook.trainer.learner import Experience, accumulate
from markbook.trainer.model.loading import add_adapter
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.types import Sample, Task
from tests.tiny import move_adapter, tiny_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
    pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning"),
]

WORDS = 264
"""More than the 258 of the tokenizer, as in many published models."""
BASE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "initializer_range": 0.2,
    "max_position_embeddings": 512,
}
GPT2_SHAPE: dict[str, Any] = {
    "vocab_size": WORDS,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
DELTA = {
    "head_dim": 8,
    "num_hidden_layers": 4,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8, "mamba_n_groups": 1}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "topk_group": 1,
}
SLIDING = {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}
LAYERS = ["sliding_attention", "sliding_attention", "full_attention"]
GEMMA4 = {
    "head_dim": 8,
    "global_head_dim": 8,
    "sliding_window": 6,
    "hidden_size_per_layer_input": 0,
    "layer_types": LAYERS,
    "num_kv_shared_layers": 0,
}
GEMMA3N = {
    "head_dim": 8,
    "sliding_window": 6,
    "num_hidden_layers": 5,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": WORDS,
    "laurel_rank": 4,
    "activation_sparsity_pattern": [0.0] * 5,
    "layer_types": ["sliding_attention"] * 4 + ["full_attention"],
    "intermediate_size": [64] * 5,
}
GPT_OSS = {
    "head_dim": 8,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}
HYBRID = {
    **MAMBA,
    "layer_types": ["mamba", "attention", "mamba"],
    "num_local_experts": 0,
    "shared_intermediate_size": 64,
    "logits_scaling": 4.0,
}

ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", {}),
    "Llama, tied": ("LlamaForCausalLM", "LlamaConfig", {"tie_word_embeddings": True}),
    "SmolLM3": ("SmolLM3ForCausalLM", "SmolLM3Config", {}),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {}),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {"head_dim": 8, "tie_word_embeddings": True}),
    "Qwen3-MoE": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {"head_dim": 8, **EXPERTS}),
    "Qwen3-Next": (
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 32},
    ),
    "Qwen3.5": ("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", DELTA),
    "Gemma 2": (
        "Gemma2ForCausalLM",
        "Gemma2Config",
        {**SLIDING, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    ),
    "Gemma 3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**SLIDING, "layer_types": LAYERS}),
    "Gemma 3, soft cap": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {**SLIDING, "layer_types": LAYERS, "final_logit_softcapping": 3.0},
    ),
    "Gemma 3n": ("Gemma3nForCausalLM", "Gemma3nTextConfig", GEMMA3N),
    "Gemma 4": ("Gemma4ForCausalLM", "Gemma4TextConfig", GEMMA4),
    "Gemma 4, soft cap": ("Gemma4ForCausalLM", "Gemma4TextConfig", {**GEMMA4, "final_logit_softcapping": 3.0}),
    "Mistral": ("MistralForCausalLM", "MistralConfig", {"sliding_window": 6}),
    "Ministral": ("MinistralForCausalLM", "MinistralConfig", {"sliding_window": 6, "head_dim": 8}),
    "Mixtral": ("MixtralForCausalLM", "MixtralConfig", {"num_local_experts": 4}),
    "Phi": ("PhiForCausalLM", "PhiConfig", {"partial_rotary_factor": 0.5}),
    "Phi-3": ("Phi3ForCausalLM", "Phi3Config", {"original_max_position_embeddings": 512}),
    "Phi-MoE": ("PhimoeForCausalLM", "PhimoeConfig", {"num_local_experts": 4, "lm_head_bias": True}),
    "DeepSeek-V2": (
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        {**LATENT, **ROUTED, "n_group": 1, "topk_method": "greedy"},
    ),
    "DeepSeek-V3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", {**LATENT, **ROUTED, "n_group": 2}),
    "GPT-OSS": ("GptOssForCausalLM", "GptOssConfig", GPT_OSS),
    "StarCoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", {"sliding_window": 6}),
    "StarCoder2, dropout": (
        "Starcoder2ForCausalLM",
        "Starcoder2Config",
        {"sliding_window": None, "residual_dropout": 0.3, "embedding_dropout": 0.3, "attention_dropout": 0.3},
    ),
    "Granite": (
        "GraniteForCausalLM",
        "GraniteConfig",
        {"logits_scaling": 8.0, "embedding_multiplier": 4.0, "residual_multiplier": 0.5},
    ),
    "Granite 4": ("GraniteMoeHybridForCausalLM", "GraniteMoeHybridConfig", HYBRID),
    "OLMo": ("OlmoForCausalLM", "OlmoConfig", {}),
    "OLMo 2": ("Olmo2ForCausalLM", "Olmo2Config", {}),
    "OLMo 3": ("Olmo3ForCausalLM", "Olmo3Config", {"sliding_window": 6}),
    "Cohere": ("CohereForCausalLM", "CohereConfig", {"logit_scale": 0.0625}),
    "Cohere 2": ("Cohere2ForCausalLM", "Cohere2Config", {"logit_scale": 0.25, "sliding_window": 6}),
    "Falcon": ("FalconForCausalLM", "FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "Falcon-H1": ("FalconH1ForCausalLM", "FalconH1Config", {**MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5}),
    "StableLM": ("StableLmForCausalLM", "StableLmConfig", {}),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", GPT2_SHAPE),
    "GPT-BigCode": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT2_SHAPE),
    "GPT-NeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {}),
    "CodeGen": ("CodeGenForCausalLM", "CodeGenConfig", {**GPT2_SHAPE, "n_ctx": 512, "rotary_dim": 4}),
    "GLM-4": ("Glm4ForCausalLM", "Glm4Config", {"head_dim": 8}),
    "EXAONE 4": ("Exaone4ForCausalLM", "Exaone4Config", {"sliding_window": 6, "layer_types": LAYERS}),
    "LFM2": (
        "Lfm2ForCausalLM",
        "Lfm2Config",
        {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    ),
    "Nemotron": ("NemotronForCausalLM", "NemotronConfig", {"head_dim": 8}),
    "Helium": ("HeliumForCausalLM", "HeliumConfig", {"head_dim": 8}),
    "Seed-OSS": ("SeedOssForCausalLM", "SeedOssConfig", {"head_dim": 8}),
    "Mamba 2": (
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {"num_hidden_layers": 2, "num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    ),
    "Hunyuan": ("HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Config", {"head_dim": 8}),
    "ERNIE 4.5": ("Ernie4_5ForCausalLM", "Ernie4_5Config", {"head_dim": 8}),
    "MiniCPM3": ("MiniCPM3ForCausalLM", "MiniCPM3Config", {**LATENT, "dim_model_base": 8}),
}
NOT_IN_BASE = {
    "Falcon": {"intermediate_size", "num_key_value_heads"},
    "GPT-NeoX": {"num_key_value_heads"},
    "GPT-2": set(BASE),
    "GPT-BigCode": set(BASE),
    "CodeGen": set(BASE),
    "Mamba 2": {"intermediate_size", "num_attention_heads", "num_key_value_heads", "max_position_embeddings"},
}
SHORT = ("Qwen3.5", "Qwen3-MoE", "Gemma 2", "Granite 4", "Cohere", "LFM2", "Phi-MoE", "Falcon-H1", "Mamba 2")
TEMPERATURE = 0.7
PROMPTS = (tuple(range(5, 25)), (20, 21, 22), tuple(range(30, 40)))
KL = 0.3
GAP = 1e-4
"""An absolute bound for log-probabilities, ten to a hundred times the rounding of float32 in models of this size: the
recurrent form of linear attention rounds otherwise than the one in chunks. A wrong state or mask gives 0.1 and more."""


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build_model(name: str) -> Any:
    model_class, config_class, values = ARCHITECTURES[name]
    base = {key: value for key, value in BASE.items() if key not in NOT_IN_BASE.get(name, set())}
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**base | values)).eval()
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            parameter.data.normal_(0, 0.2)
    return model


def build_policy(name: str, gradient_checkpointing: bool = False) -> Policy:
    model = add_adapter(build_model(name), Training(lora_r=4, lora_alpha=8))
    policy = Policy(model, tiny_tokenizer(), gradient_checkpointing)
    move_adapter(policy)
    return policy


def sample(index: int, ids: Sequence[int]) -> Sample:
    return Sample(Task(index, "p", "python", PROMPTS[index]), tuple(ids), "", False, (-1.0,) * len(ids))


SAMPLES = [
    sample(0, (40, 41, 42, 43, 1)),
    sample(1, (50, 51)),
    sample(0, (44, 45, 46)),
    sample(1, (1,)),
    sample(2, range(60, 80)),
]
ADVANTAGES = (1.5, -0.5, 0.75, -2.0, 1.0)


def plain_log_probs(model: Any, samples: Sequence[Sample]) -> torch.Tensor:
    """One sample at a time through the model's own forward pass, without a cache."""
    found = []
    for each in samples:
        row = torch.tensor([[*each.task.token_ids, *each.ids]])
        logits = model(input_ids=row, use_cache=False).logits[0].float() / TEMPERATURE
        start = len(each.task.token_ids)
        found.append(logits[start - 1 : -1].log_softmax(-1).gather(-1, row[0, start:, None])[:, 0])
    return torch.cat(found)


def gradient(policy: Policy) -> torch.Tensor:
    parts = [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in policy.trainable]
    policy.model.zero_grad(set_to_none=True)
    return torch.cat(parts)


def check_log_probs_and_gradient(policy: Policy) -> None:
    ours, plain = policy.log_probs(SAMPLES, TEMPERATURE), plain_log_probs(policy.model, SAMPLES)
    reference = adapter_off(policy).log_probs(SAMPLES, TEMPERATURE)
    with policy.model.disable_adapter(), torch.no_grad():
        base = plain_log_probs(policy.model, SAMPLES)
    assert (ours - plain).abs().max() < GAP
    assert (reference - base).abs().max() < GAP
    assert (ours - reference).abs().max() > 0.1, "the adapter changes nothing"

    config = Config.model_validate(
        {
            "training": {"micro_batch_size": 2},
            "rlaif": {"generation_temperature": TEMPERATURE, "kl_penalty": KL, "kl_estimator": "k3"},
        }
    )
    experiences = [Experience(each, a, True) for each, a in zip(SAMPLES, ADVANTAGES, strict=True)]
    accumulate(policy, adapter_off(policy), experiences, config, KL)
    found = gradient(policy)
    weights = torch.cat([torch.full((len(each.ids),), a) for each, a in zip(SAMPLES, ADVANTAGES, strict=True)])
    ratio = base - plain
    (-(weights * plain).sum() / len(plain) + KL * (ratio.exp() - ratio - 1).sum() / len(plain)).backward()
    expected = gradient(policy)
    assert (found - expected).norm() < 1e-3 * expected.norm()


def check_sampling(policy: Policy) -> None:
    """What a batch with prompts of three lengths draws has the log-probabilities of the plain forward pass."""
    sampler = Sampler(policy, temperature=TEMPERATURE, max_new_tokens=16, batch_size=4, seed=0)
    tasks = [Task(index, "p", "python", prompt) for index, prompt in enumerate(PROMPTS)]
    drawn = [each for _, group in sorted(sampler.groups(tasks, 3, (0, 1))) for each in group]
    assert len(drawn) == 9
    with torch.no_grad():
        plain = plain_log_probs(policy.model, drawn)
    assert (torch.tensor([value for each in drawn for value in each.log_probs]) - plain).abs().max() < 10 * GAP


def check_peft_loads_it(policy: Policy, name: str, folder: Any) -> None:
    policy.save_adapter(folder)
    loaded = PeftModel.from_pretrained(build_model(name), folder).eval()
    row = torch.tensor([[*PROMPTS[0], 40, 41, 42]])
    with torch.no_grad():
        assert (loaded(input_ids=row).logits - policy.model(input_ids=row).logits).abs().max() < GAP


def check(name: str, folder: Any) -> None:
    policy = build_policy(name)
    check_log_probs_and_gradient(policy)
    check_sampling(policy)
    check_peft_loads_it(policy, name, folder)


@pytest.mark.parametrize("name", SHORT)
def test_an_architecture_for_each_way_of_reading(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.parametrize("name", ["Llama", "Qwen3.5", "Falcon", "Mamba 2"])
def test_with_gradient_checkpointing_the_gradient_is_the_same(name):
    """Falcon calls its cache `layer_past`; the others have one, none, or one by a third name."""
    check_log_probs_and_gradient(build_policy(name, gradient_checkpointing=True))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in SHORT])
def test_every_other_architecture(name, tmp_path):
    check(name, tmp_path)


def test_routers_that_return_more_than_a_tensor_and_mambas_output_have_no_adapter():
    def update_kl_coef(name: str) -> set[str]:
        names = build_policy(name).model.state_dict()
        return {key.split(".lora_A")[0].rsplit(".", 1)[1] for key in names if ".lora_A" in key}

    assert update_kl_coef("Phi-MoE") == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert update_kl_coef("Mamba 2") == {"in_proj"}
    assert "out_proj" in update_kl_coef("LFM2")  # a convolution's, which PEFT can adapt


def test_a_model_whose_logits_are_not_understood_is_refused_with_the_difference(monkeypatch):
    model = build_model("Llama")
    head = model.lm_head.forward
    plain = type(model).forward

    def shifted(self, *args, **kwargs):
        out = plain(self, *args, **kwargs)
        out.logits = out.logits.roll(1, -1)
        return out

    monkeypatch.setattr(type(model), "forward", shifted)
    assert model.lm_head.forward == head
    with pytest.raises(ConfigError, match=r"llama cannot be trained here: its logits are not .*relative difference"):
        Policy(add_adapter(model, Training(lora_r=4)), tiny_tokenizer())


def test_an_architecture_that_breaks_is_refused_in_one_line(monkeypatch):
    model = build_model("Llama")

    def broken(*_args, **_kwargs):
        raise AttributeError("no such\nthing")

    monkeypatch.setattr(type(model.model), "forward", broken)
    with pytest.raises(
        ConfigError, match=r"llama cannot be trained here: reading it in parts failed with .* no such thing\."
    ):
        Policy(add_adapter(model, Training(lora_r=4)), tiny_tokenizer())


def test_a_token_that_the_tokenizer_does_not_know_is_no_text():
    """Published models have more logits than tokens; the rest is hardly ever drawn, but may be."""
    assert tiny_tokenizer().decode([40, WORDS - 1, 41]) == tiny_tokenizer().decode([40, 41])


def test_the_document_lists_every_architecture():
    text = (Path(__file__).parents[3] / "docs" / "students.md").read_text()
    missing = [name for name in ARCHITECTURES if f"{name.split(', ')[0]}" not in text]
    assert not missing
