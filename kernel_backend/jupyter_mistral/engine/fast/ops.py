"""The operations of a decode step: a reference in plain torch, and Triton's kernels with the same arguments."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from . import nf4, step_ops
from .nf4 import Nf4
from .slots import Slots
from .step_ops import Norms
from .tuning import Tune


class Ops(Protocol):
    """m is the number of tokens of a step, 1 to 16. Tensors are bfloat16 on one device unless noted."""

    def linear(self, x: Tensor, weight: Nf4, bias: Tensor | None) -> Tensor:
        """[m, columns] to [m, rows], summed in 32 bit."""

    def dense(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Like `linear`, with weights [rows, columns] in 16 bit."""

    def int8(self, x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
        """Like `linear`, with weights int8 [rows, columns] times scales bfloat16 [rows]."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """[n, size], each row separately, computed in 32 bit."""

    def add_rms_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """x + delta, and its norm."""

    def rotate_and_append(
        self, qkv: Tensor, cos: Tensor, sin: Tensor, slots: Slots, layer: int, norms: Norms | None = None
    ) -> Tensor:
        """qkv [m, (heads + 2 kv_heads) * size] to the rotated queries [m, heads, size]. Writes rotated keys, and values, to
        the sequences. cos, sin: [m, size]. norms: applied to each head's query and key before the rotation."""

    def attend(self, q: Tensor, slots: Slots, layer: int, scale: float) -> Tensor:
        """[m, heads, size] to [m, heads * size]; each token attends to its sequence up to itself."""

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """[m, 2 n] to silu of the first half times the second."""


class Reference:
    """Plain torch, on any device."""

    linear = staticmethod(nf4.linear)
    int8 = staticmethod(lambda x, weight, scales: ((x.float() @ weight.float().T) * scales.float()).to(x.dtype))
    dense = staticmethod(functional.linear)
    rms_norm = staticmethod(step_ops.rms_norm)
    add_rms_norm = staticmethod(step_ops.add_rms_norm)
    rotate_and_append = staticmethod(step_ops.rotate_and_append)
    attend = staticmethod(step_ops.attend)
    silu_mul = staticmethod(step_ops.silu_mul)


def triton() -> Ops:
    """Triton's kernels. Raises ImportError without Triton."""
    from . import attention_triton, nf4_triton, step_ops_triton

    class Triton:
        linear = staticmethod(nf4_triton.linear)
        int8 = staticmethod(nf4_triton.int8_head)
        dense = staticmethod(functional.linear)
        rms_norm = staticmethod(step_ops_triton.rms_norm)
        add_rms_norm = staticmethod(step_ops_triton.add_rms_norm)
        rotate_and_append = staticmethod(step_ops_triton.rotate_and_append)
        attend = staticmethod(attention_triton.attend)
        silu_mul = staticmethod(step_ops_triton.silu_mul)

    return Triton()


def tuner(device: torch.device) -> Tune | None:
    """Tunes Triton's kernels; None where timings mean nothing: on the CPU and under Triton's interpreter."""
    from . import nf4_triton, step_ops_triton

    return nf4_triton.tune if device.type == "cuda" and not step_ops_triton.INTERPRETED else None
