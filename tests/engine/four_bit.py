"""Linear layers as bitsandbytes quantizes them."""

from __future__ import annotations

import torch
from bitsandbytes.nn import Linear4bit


def layer(rows: int, columns: int, is_nested: bool, seed: int = 0, is_biased: bool = False) -> Linear4bit:
    """A layer in NF4, with rows of different magnitude; its weights are not repacked on any CPU."""
    torch.manual_seed(seed)
    made = Linear4bit(
        columns,
        rows,
        bias=is_biased,
        compute_dtype=torch.bfloat16,
        compress_statistics=is_nested,
        quant_type="nf4",
    )
    made.weight.data.copy_(torch.randn(rows, columns) * torch.rand(rows, 1))
    made = made.to("cpu")
    if made.bias is not None:
        made.bias.data = made.bias.data.bfloat16()  # as its first forward would do
    made.support_avx512bf16_for_cpu = False
    return made.requires_grad_(False).eval()
