"""Builds a llama of 13 M random weights that says words without a sense, as a bf16 safetensors folder.

Every token that it says hangs on all that it has read, so that a wrong number anywhere shows in its text.
"""

from __future__ import annotations

from pathlib import Path

WINDOW = 16_384


def build(out: Path, tokenizer: Path) -> Path:
    """Write the folder `out`, with the tokenizer and the chat template of another model's folder, and return it."""
    import torch
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(tokenizer)
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=WINDOW,
        **ends,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():  # random weights of the usual size give flat scores; steeper ones make choices stable
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight.mul_(3)
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(out)
    words.save_pretrained(out)
    return out
