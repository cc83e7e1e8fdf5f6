"""Builds a tiny Mixtral with random weights: four experts of which two see each token, as a bf16 safetensors folder."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, MixtralConfig, MixtralForCausalLM


def build(out: Path, tokenizer: Path) -> Path:
    """Write the folder `out`, with the tokenizer of another model's folder, and return it."""
    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(tokenizer)
    config = MixtralConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=2048,
        sliding_window=None,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = MixtralForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():  # random weights of the usual size give flat scores; steeper ones make choices stable
        for name, weight in model.named_parameters():
            if weight.dim() >= 2 and "embed" not in name:
                weight.mul_(3)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2)
    model.save_pretrained(out)
    words.save_pretrained(out)
    return out
