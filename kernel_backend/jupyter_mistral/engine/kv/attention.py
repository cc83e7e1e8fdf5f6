"""Attention of several sequences in one forward, each over its own keys, whose bits do not depend on who else is there.

torch's CPU kernel works through keys in blocks of 512 and queries in groups. Two things change its rounding with the
shape of the call: a last key block that is not full, and a last group of fewer than four queries. Fill both up, and
every chunking of a prompt gives the same bits (tests/engine/test_prefix.py). That is why a reused prefix, another chunk
size, prompt lookup or a neighbour in the batch cannot change a greedy answer. The linear layers have this property by
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

if TYPE_CHECKING:
    from . import sequence as kv

NAME = "jupyter_mistral_steady"
KEY_BLOCK = 512
_PLAIN = {"llama", "mistral", "ministral", "ministral3", "mixtral", "qwen2", "qwen3", "qwen3_moe", "smollm3"}
QUERY_GROUP = 4

Pack = Sequence[tuple["kv.Sequence", int]]  # whose tokens stand one after the other in a forward, and how many of each


def is_fit(config: Any) -> bool:
    """Whether a text configuration asks for nothing but plain causal attention over everything."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None)
    return config.model_type in _PLAIN and kinds == {"full_attention"} and not windowed


def register() -> None:
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Sequences without padding need no mask from transformers."""


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
    """Causal attention; shapes [1, heads, tokens, size]. With a `pack` keys and values are new, and are appended to its
    sequences; without one they are those of one whole sequence, whose last tokens the queries are."""
    if pack is None:
        return attend(query, key, value, scaling).transpose(1, 2).contiguous(), None
    answers, at = [], 0
    for sequence, count in pack:
        layer, new = sequence.rows[int(module.layer_idx)], slice(at, at + count)  # type: ignore[arg-type]  # transformers
        for start, stop, keys, values in layer.stretches(key[:, :, new], value[:, :, new]):
            answers.append(attend(query[:, :, at + start : at + stop], keys, values, scaling))
        at += count
    whole = answers[0] if len(answers) == 1 else torch.cat(answers, 2)
    return whole.transpose(1, 2).contiguous(), None


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """The queries are the last ones of the keys."""
    rows, length = query.shape[2], key.shape[2]
    if query.device.type != "cpu":
        from torch.nn.attention.bias import causal_lower_right  # brings torch's compiler along, which takes seconds

        mask: Any = causal_lower_right(rows, length) if rows > 1 else None
        return functional.scaled_dot_product_attention(query, key, value, mask, scale=scaling, enable_gqa=True)
    padded = -(-rows // QUERY_GROUP) * QUERY_GROUP
    filled = -(-length // KEY_BLOCK) * KEY_BLOCK
    if padded != rows:
        query = functional.pad(query, (0, 0, 0, padded - rows))
    mask = _mask(length, rows, padded, filled)
    answer = functional.scaled_dot_product_attention(
        query, _filled(key, filled), _filled(value, filled), attn_mask=mask, scale=scaling, enable_gqa=True
    )
    return answer[:, :, :rows]


@lru_cache(maxsize=8)
def _mask(length: int, rows: int, padded: int, filled: int) -> torch.Tensor:
    """The same for every layer of a forward."""
    seen = torch.arange(length - rows, length - rows + padded).clamp_(max=length - 1)
    return torch.arange(filled)[None, :] <= seen[:, None]


def _filled(tensor: torch.Tensor, length: int) -> torch.Tensor:
    """`tensor` with keys up to `length`, without a copy where its buffer goes on far enough (`kv.GrowingLayer`)."""
    if tensor.shape[2] == length:
        return tensor
    size = tensor.shape[3]
    if tensor.stride(1) >= length * size and tensor.stride(2) == size:
        return tensor.as_strided((*tensor.shape[:2], length, size), tensor.stride(), tensor.storage_offset())
    return functional.pad(tensor, (0, 0, 0, length - tensor.shape[2]))
