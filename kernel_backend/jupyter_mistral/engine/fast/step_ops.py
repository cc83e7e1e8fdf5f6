"""The operations of a decode step besides its matrices, in plain torch: the reference for the kernels, and the fallback without
them. Rounds where transformers' own modules round."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..kv import attention
from .slots import Slots

Norms = tuple[torch.Tensor, torch.Tensor, float]  # weights [size] of the query's and the key's norm, and eps


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x divided by its root mean square along the last dimension, times weight (arXiv 1910.07467), computed in 32 bit."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def add_rms_norm(
    x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x + delta, and its norm."""
    added = x + delta
    return added, rms_norm(added, weight, eps)


def rotate_and_append(
    qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, slots: Slots, layer: int, norms: Norms | None = None
) -> torch.Tensor:
    """The rotated queries [m, heads, size]. Writes rotated keys, and values, to their sequences.

    qkv [m, (heads + 2 kv_heads) * size]; cos and sin [m, size] from transformers' rotary modules, with equal halves. With
    `norms`, queries and keys are normalized per head before (Qwen 3).
    """
    heads = qkv.shape[1] // slots.size - 2 * slots.heads
    parts = torch.unflatten(qkv, 1, (-1, slots.size))
    query, key, value = torch.split(parts, [heads, slots.heads, slots.heads], 1)
    if norms:
        query, key = rms_norm(query, norms[0], norms[2]), rms_norm(key, norms[1], norms[2])
    query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    for sequence, tokens in slots.parts():
        sequence.layers[layer].write(key[tokens].transpose(0, 1), value[tokens].transpose(0, 1))
    return query


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate heads x [m, heads, size] by their tokens' angles."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]


def attend(query: torch.Tensor, slots: Slots, layer: int, scale: float) -> torch.Tensor:
    """Attention outputs [m, heads * size] for queries [m, heads, size]. Each attends to its sequence up to its own token, which
    `rotate_and_append` has written. Padding tokens get zeros."""
    outputs = torch.zeros_like(query)
    for sequence, tokens in slots.parts():
        keys, values = sequence.layers[layer].visible(tokens.stop - tokens.start)
        output = attention.attend(query[tokens].transpose(0, 1)[None], keys, values, scale)
        outputs[tokens] = output[0].transpose(0, 1)
    return outputs.flatten(1)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up [m, n], from gate and up side by side [m, 2 n]."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate) * up
