"""Small models with random weights in 4 bit, one of each plain architecture; built in memory, quantized by bitsandbytes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from jupyter_mistral.engine.kv import attention
from transformers import AutoConfig, AutoModelForCausalLM

WORDS = 512
_SHAPE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
}
_YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 16.0, "original_max_position_embeddings": 64}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# what sets each apart from a llama
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": _LLAMA3},
    "mistral": {"sliding_window": None, "tie_word_embeddings": True},
    "ministral3": {"sliding_window": None, "rope_parameters": {**_YARN, "llama_4_scaling_beta": 0.1}},
    "qwen2": {},
    "qwen3": {},
    "smollm3": {"no_rope_layers": [1, 0, 1]},
}


def build(kind: str, seed: int = 0, is_nested: bool = True, is_dense: bool = False, **more: Any) -> Any:
    """A model in bf16 whose linear layers are NF4. is_nested: double quantization, as we write it."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **copy.deepcopy({**_SHAPE, **KINDS[kind], **more}))
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.mul_(4)  # random weights of the usual size give flat scores; steeper ones make choices stable
            elif weight.dim() == 1:
                weight.add_(torch.randn_like(weight), alpha=0.2)  # norms of one and biases of zero would hide mistakes
    if not is_dense:
        for layer in model.get_decoder().layers:
            for holder in (layer.self_attn, layer.mlp):
                for name, linear in list(holder.named_children()):
                    if isinstance(linear, torch.nn.Linear):
                        setattr(holder, name, _quantized(linear, is_nested))
    attention.register()
    model.config._attn_implementation = attention.NAME
    return model


def _quantized(linear: torch.nn.Linear, is_nested: bool) -> Linear4bit:
    found = Linear4bit(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        compute_dtype=torch.bfloat16,
        compress_statistics=is_nested,
        quant_type="nf4",
    )
    found.weight = Params4bit(
        linear.weight.data, requires_grad=False, compress_statistics=is_nested, quant_type="nf4", module=found
    ).to("cpu")
    if linear.bias is not None:
        found.bias = linear.bias
    return found.eval()
