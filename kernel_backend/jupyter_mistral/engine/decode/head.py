"""The last layer at half the bytes, with the same choice of token by proof. Knows no text.

For one token the head reads as many bytes as all 4-bit layers of a small model together. Here it is read in int8 first;
rows that could still hold the highest score are then computed in full. The error of a row is bounded by Cauchy and
Schwarz: |x . (w - q s)| <= |x| |w - q s|, and the second factor is known from the start. So the highest score, and the
scores near it, are those of the full head to the bit; the others differ by at most that bound. A choice among some tokens
only (a grammar's), or after penalties, is within the bound as well, but not proven to be the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

ROWS = 8  # with more tokens at once the full head costs no more than int8
_SLICE = 8192  # rows of weights that are quantized at a time: 32 bit for all of them would double the peak
_ROUNDING = 2.0**-7  # both ways of computing round their result to bf16, by 2^-9 of it each; the rest is margin


class NarrowHead(torch.nn.Module):
    """Takes the place of a linear head without bias; inference on the CPU only."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self._head = head
        rows, size = head.weight.shape
        self._small: torch.Tensor
        self._scale: torch.Tensor
        self._lost: torch.Tensor
        self.register_buffer("_small", torch.empty(rows, size, dtype=torch.int8), persistent=False)
        self.register_buffer("_scale", torch.empty(rows, dtype=torch.bfloat16), persistent=False)
        self.register_buffer("_lost", torch.empty(rows), persistent=False)
        for start in range(0, rows, _SLICE):
            part = slice(start, start + _SLICE)
            full = head.weight[part].detach().float()
            scale = (full.abs().amax(1) / 127).clamp_min(1e-30).bfloat16()
            small = (full / scale.float()[:, None]).round_().clamp_(-127, 127)
            self._small[part], self._scale[part] = small.to(torch.int8), scale
            self._lost[part] = (full - small * scale.float()[:, None]).norm(dim=1)

    @property
    def weight(self) -> torch.Tensor:
        """Of the full head, tied to the embeddings in many models."""
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
            likely = self._likely(state, row)
            row[likely] = functional.linear(state[None], self.weight[likely])[0]
        return scores.reshape((*states.shape[:-1], scores.shape[-1]))

    def _likely(self, state: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The rows whose full score may be the highest, in order, so that equal scores keep their order too."""
        near: torch.Tensor = scores.float()
        error: torch.Tensor = state.float().norm() * self._lost + near.abs() * _ROUNDING
        rows: torch.Tensor = (near + error >= (near - error).max()).nonzero()[:, 0]
        return rows


def narrow(model: Any) -> bool:
    """Put a `NarrowHead` into a model where that keeps every promise above; whether it did."""
    head = model.get_output_embeddings()
    if not _is_plain(head):
        return False
    if head.weight.dtype != torch.bfloat16 or head.weight.device.type != "cpu":
        return False
    model.set_output_embeddings(NarrowHead(head))
    return True


def _is_plain(head: Any) -> bool:
    # a subclass may compute otherwise
    return type(head) is torch.nn.Linear and head.bias is None
