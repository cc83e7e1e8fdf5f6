"""The output layer at half the bytes, with provably the same greedy token. Knows no text.

For one token the head reads as many bytes as all 4-bit layers of a small model together. Here it is read in int8 first, and
rows that could still have the highest score are computed in full. Cauchy-Schwarz bounds the error of a row:
|x . (w - q s)| <= |x| |w - q s|, and the second factor is known at load. So the highest score, and the scores near it, are
those of the full head to the bit; the others differ by at most the bound. A choice among a grammar's tokens, or after
penalties, is within the bound too, but not proven to be the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

ROWS = 8  # with more tokens at once the full head costs no more than int8
_SLICE = 8192  # rows quantized at a time: all of them in 32 bit would double the peak
_ROUNDING = 2.0**-7  # both computations round to bf16, by 2^-9 each; the rest is margin


class NarrowHead(torch.nn.Module):
    """Replaces a linear head without bias; inference on the CPU only."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self._head = head
        rows, size = head.weight.shape
        self._small: torch.Tensor
        self._scale: torch.Tensor
        self._error: torch.Tensor
        self.register_buffer("_small", torch.empty(rows, size, dtype=torch.int8), persistent=False)
        self.register_buffer("_scale", torch.empty(rows, dtype=torch.bfloat16), persistent=False)
        self.register_buffer("_error", torch.empty(rows), persistent=False)
        for start in range(0, rows, _SLICE):
            part = slice(start, start + _SLICE)
            full = head.weight[part].detach().float()
            scale = (full.abs().amax(1) / 127).clamp_min(1e-30).bfloat16()
            small = (full / scale.float()[:, None]).round_().clamp_(-127, 127)
            self._small[part], self._scale[part] = small.to(torch.int8), scale
            self._error[part] = (full - small * scale.float()[:, None]).norm(dim=1)

    @property
    def weight(self) -> torch.Tensor:
        """The full head's, which many models share with the embeddings."""
        full: torch.Tensor = self._head.weight
        return full

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Scores [..., tokens, vocabulary] of states [..., tokens, size]."""
        flat = states.reshape(-1, states.shape[-1])
        if len(flat) > ROWS:
            full: torch.Tensor = self._head(states)
            return full
        scores: torch.Tensor = torch.ops.aten._weight_int8pack_mm(flat, self._small, self._scale)
        for state, row in zip(flat, scores, strict=True):
            contenders = self._contenders(state, row)
            row[contenders] = functional.linear(state[None], self.weight[contenders])[0]
        return scores.reshape((*states.shape[:-1], scores.shape[-1]))

    def _contenders(self, state: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The rows whose full score may be the highest, in order, so that ties are broken as in the full head."""
        near: torch.Tensor = scores.float()
        error: torch.Tensor = state.float().norm() * self._error + near.abs() * _ROUNDING
        rows: torch.Tensor = (near + error >= (near - error).max()).nonzero()[:, 0]
        return rows


def narrow(model: Any) -> bool:
    """Replace the head by a `NarrowHead` where the proof above holds. Returns whether it did."""
    head = model.get_output_embeddings()
    if not _is_plain(head):
        return False
    if head.weight.dtype != torch.bfloat16 or head.weight.device.type != "cpu":
        return False
    model.set_output_embeddings(NarrowHead(head))
    return True


def _is_plain(head: Any) -> bool:
    # a subclass may compute something else
    return type(head) is torch.nn.Linear and head.bias is None
