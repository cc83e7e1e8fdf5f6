"""Attention of several sequences in one forward, each over its own keys, bit for bit as if it were alone.

torch's CPU kernel reads keys in blocks of 512 and queries in groups of four. A last block or group that is not full changes
the rounding. Padding both makes every chunking of a prompt give the same bits (tests/engine/test_prefix.py), so a reused
prefix, another chunk size, prompt lookup or another request in the batch cannot change a greedy answer. The linear layers
have this property by themselves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from .sequence import KEY_BLOCK, Pack

NAME = "jupyter_mistral_steady"
_PLAIN = {"llama", "mistral", "ministral", "ministral3", "mixtral", "qwen2", "qwen3", "qwen3_moe", "smollm3"}
QUERY_GROUP = 4


def is_fit(config: Any) -> bool:
    """Whether a text configuration needs only plain causal attention over all tokens."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None)
    return config.model_type in _PLAIN and kinds == {"full_attention"} and not windowed


def register() -> None:
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Sequences are not padded, so no mask from transformers is needed."""


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    pack: Pack | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention over shapes [1, heads, tokens, size].

    With a `pack`, keys and values are new and appended to its sequences. Without one, they are a whole sequence and the
    queries are its last tokens.
    """
    if pack is None:
        return attend(query, key, value, scaling).transpose(1, 2).contiguous(), None
    outputs, at = [], 0
    for sequence, count in pack:
        layer, new = sequence.layers[int(module.layer_idx)], slice(at, at + count)  # type: ignore[arg-type]  # transformers
        for start, stop, keys, values in layer.append_tokens(key[:, :, new], value[:, :, new]):
            outputs.append(attend(query[:, :, at + start : at + stop], keys, values, scaling))
        at += count
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
    return output.transpose(1, 2).contiguous(), None


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Causal attention of queries that belong to the last keys."""
    rows, length = query.shape[2], key.shape[2]
    if query.device.type != "cpu":
        from torch.nn.attention.bias import causal_lower_right  # imports torch's compiler, which takes seconds

        mask: Any = causal_lower_right(rows, length) if rows > 1 else None
        return functional.scaled_dot_product_attention(query, key, value, mask, scale=scaling, enable_gqa=True)
    padded = -(-rows // QUERY_GROUP) * QUERY_GROUP
    filled = -(-length // KEY_BLOCK) * KEY_BLOCK
    if padded != rows:
        query = functional.pad(query, (0, 0, 0, padded - rows))
    mask = _mask(length, rows, padded, filled)
    output = functional.scaled_dot_product_attention(
        query, _filled(key, filled), _filled(value, filled), attn_mask=mask, scale=scaling, enable_gqa=True
    )
    return output[:, :, :rows]


@lru_cache(maxsize=8)
def _mask(length: int, rows: int, padded: int, filled: int) -> torch.Tensor:
    """The same for every layer of a forward."""
    last = torch.arange(length - rows, length - rows + padded).clamp_(max=length - 1)
    return torch.arange(filled)[None, :] <= last[:, None]


def _filled(tensor: torch.Tensor, length: int) -> torch.Tensor:
    """`tensor` extended to `length` keys, without a copy where its buffer is long enough (`GrowingLayer`)."""
    if tensor.shape[2] == length:
        return tensor
    size = tensor.shape[3]
    if tensor.stride(1) >= length * size and tensor.stride(2) == size:
        return tensor.as_strided((*tensor.shape[:2], length, size), tensor.stride(), tensor.storage_offset())
    return functional.pad(tensor, (0, 0, 0, length - tensor.shape[2]))
