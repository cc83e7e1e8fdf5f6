"""A llama of a few hundred thousand random weights, in 32 bit or in bf16."""

from __future__ import annotations

from typing import Any

import torch
from jupyter_mistral.engine.kv import attention
from transformers import LlamaConfig, LlamaForCausalLM

WORDS = 512


def build(dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).to(dtype).eval()
    with torch.no_grad():  # random weights of the usual size give flat scores; steeper ones make choices stable
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.mul_(3)
    attention.register()
    model.config._attn_implementation = attention.NAME
    return model


def ids(count: int, seed: int = 7) -> list[int]:
    return [(i * i * 31 + i * seed) % (WORDS - 10) + 5 for i in range(count)]
