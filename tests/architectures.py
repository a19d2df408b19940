"""Tiny models of many architectures, with random weights, built from their configurations."""

from __future__ import annotations

from typing import Any

import torch
import transformers

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
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
    "mamba_n_groups": 1,
}
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
    "Gemma 4, soft cap": (
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        {**GEMMA4, "final_logit_softcapping": 3.0},
    ),
    "Mistral": ("MistralForCausalLM", "MistralConfig", {"sliding_window": 6}),
    "Ministral": ("MinistralForCausalLM", "MinistralConfig", {"sliding_window": 6, "head_dim": 8}),
    "Mixtral": ("MixtralForCausalLM", "MixtralConfig", {"num_local_experts": 4}),
    "Phi": ("PhiForCausalLM", "PhiConfig", {"partial_rotary_factor": 0.5}),
    "Phi-3": ("Phi3ForCausalLM", "Phi3Config", {"original_max_position_embeddings": 512}),
    "Phi-MoE": (
        "PhimoeForCausalLM",
        "PhimoeConfig",
        {"num_local_experts": 4, "lm_head_bias": True},
    ),
    "DeepSeek-V2": (
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        {**LATENT, **ROUTED, "n_group": 1, "topk_method": "greedy"},
    ),
    "DeepSeek-V3": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {**LATENT, **ROUTED, "n_group": 2},
    ),
    "GPT-OSS": ("GptOssForCausalLM", "GptOssConfig", GPT_OSS),
    "StarCoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", {"sliding_window": 6}),
    "StarCoder2, dropout": (
        "Starcoder2ForCausalLM",
        "Starcoder2Config",
        {
            "sliding_window": None,
            "residual_dropout": 0.3,
            "embedding_dropout": 0.3,
            "attention_dropout": 0.3,
        },
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
    "Falcon": (
        "FalconForCausalLM",
        "FalconConfig",
        {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "Falcon-H1": (
        "FalconH1ForCausalLM",
        "FalconH1Config",
        {**MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    ),
    "StableLM": ("StableLmForCausalLM", "StableLmConfig", {}),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", GPT2_SHAPE),
    "GPT-BigCode": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT2_SHAPE),
    "GPT-NeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {}),
    "CodeGen": (
        "CodeGenForCausalLM",
        "CodeGenConfig",
        {**GPT2_SHAPE, "n_ctx": 512, "rotary_dim": 4},
    ),
    "GLM-4": ("Glm4ForCausalLM", "Glm4Config", {"head_dim": 8}),
    "EXAONE 4": (
        "Exaone4ForCausalLM",
        "Exaone4Config",
        {"sliding_window": 6, "layer_types": LAYERS},
    ),
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
        {
            "num_hidden_layers": 2,
            "num_heads": 4,
            "head_dim": 16,
            "state_size": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
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
    "Mamba 2": {
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
    },
}


def build_model(name: str) -> Any:
    model_class, config_class, values = ARCHITECTURES[name]
    base = {key: value for key, value in BASE.items() if key not in NOT_IN_BASE.get(name, set())}
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(
        getattr(transformers, config_class)(**base | values)
    ).eval()
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            parameter.data.normal_(0, 0.2)
    return model
