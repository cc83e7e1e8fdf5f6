"""What a decode step does beside its matrices, in plain torch: what the kernels are compared with, and what runs where there
are none. Rounds where transformers' own modules round."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..kv import attention
from .slots import Slots

Norms = tuple[torch.Tensor, torch.Tensor, float]  # weights [size] of a query's and a key's norm, and eps


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x over the root of its mean square along the last dimension, times weight: arXiv 1910.07467, in 32 bit inside."""
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
    """Queries [m, heads, size], rotated. Keys, rotated too, and values are written to their sequences.

    qkv [m, (heads + 2 kv_heads) * size]; cos and sin [m, size] as transformers' rotary modules give them, both halves of
    the size alike. With `norms`, queries and keys are normed head by head before (Qwen 3).
    """
    heads = qkv.shape[1] // slots.size - 2 * slots.heads
    parts = torch.unflatten(qkv, 1, (-1, slots.size))
    query, key, value = torch.split(parts, [heads, slots.heads, slots.heads], 1)
    if norms:
        query, key = rms_norm(query, norms[0], norms[2]), rms_norm(key, norms[1], norms[2])
    query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    for sequence, tokens in slots.parts():
        sequence.rows[layer].put(key[tokens].transpose(0, 1), value[tokens].transpose(0, 1))
    return query


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Heads x [m, heads, size] turned by their tokens' angles."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]


def attend(query: torch.Tensor, slots: Slots, layer: int, scale: float) -> torch.Tensor:
    """Answers [m, heads * size] for queries [m, heads, size]; each sees its sequence up to its own token, which
    `rotate_and_append` has written. Tokens of no sequence get zeros."""
    answers = torch.zeros_like(query)
    for sequence, tokens in slots.parts():
        keys, values = sequence.rows[layer].seen(tokens.stop - tokens.start)
        found = attention.attend(query[tokens].transpose(0, 1)[None], keys, values, scale)
        answers[tokens] = found[0].transpose(0, 1)
    return answers.flatten(1)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up [m, n] of gate and up side by side [m, 2 n]."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate) * up
