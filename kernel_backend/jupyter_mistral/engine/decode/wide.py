"""Products in 32 bit, on x86 processors that have no AVX-512 and so multiply bfloat16 slowly.

bitsandbytes unpacks a 4-bit weight to the kind of the states and leaves the product to torch, whose product of bfloat16
is emulated on such processors: five to six times slower than that of 32 bit at 256 tokens, slower for one token too
(`tests/benchmarks/wide.py`). 32 bit is exact for what bfloat16 holds, and rounded once at the end.

The bits of a row must not depend on how many rows come with it (`attention.py` says why). MKL's kernels for a number of
rows that is no multiple of four sum in another order, so the rows are filled up to one.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import bitsandbytes  # noqa: F401  # it registers the operators that are called and taken over below
import torch
from torch.nn import functional

OP = "bitsandbytes::gemm_4bit"
ROW_GROUP = 4
_EYES = ("vision_tower", "multi_modal_projector")
_is_ours = False


def is_of_use() -> bool:
    """Whether torch emulates bfloat16 on this processor."""
    return platform.machine().lower() in {"x86_64", "amd64"} and not torch.backends.cpu.get_cpu_capability().startswith(
        "AVX512"
    )


def install() -> bool:
    """Take every 4-bit product on the CPU of this process over where `is_of_use`; whether it is ours from now on.

    A bitsandbytes that brings a kernel of its own for the CPU keeps it.
    """
    global _is_ours
    if not _is_ours and is_of_use() and not torch._C._dispatch_has_kernel_for_dispatch_key(OP, "CPU"):
        torch.library.register_kernel(OP, "cpu", four_bit)
        _is_ours = True
    return _is_ours


def widen(model: Any) -> None:
    """The plain layers of a model's eyes too, in place."""
    if is_of_use():
        for name, module in model.named_modules():
            if type(module) is torch.nn.Linear and any(part in name for part in _EYES):
                module.__class__ = WideLinear


class WideLinear(torch.nn.Linear):
    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return linear(states, self.weight, self.bias)


def linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """States [..., columns] times weight [rows, columns] -> [..., rows], computed in 32 bit, in the kind of the states."""
    flat = states.reshape(-1, states.shape[-1]).float()
    count = len(flat)
    filled = functional.pad(flat, (0, 0, 0, -count % ROW_GROUP))
    found = functional.linear(filled, weight.float(), None if bias is None else bias.float())
    return found[:count].to(states.dtype).reshape(*states.shape[:-1], len(weight))


def four_bit(
    states: torch.Tensor,
    packed: torch.Tensor,
    shape: Sequence[int],
    absmax: torch.Tensor,
    blocksize: int,
    quant_type: str,
    bias: torch.Tensor | None = None,
    absmax_8bit: torch.Tensor | None = None,
    absmax_code: torch.Tensor | None = None,
    absmax_offset: torch.Tensor | None = None,
) -> torch.Tensor:
    """States [..., columns] times the 4-bit weight of `shape` [rows, columns] -> [..., rows], in the kind of the states.

    The order is that of bitsandbytes' operator. With `absmax_8bit` the scales are 8 bit themselves, in blocks of 256.
    """
    unpack = torch.ops.bitsandbytes
    if absmax_8bit is not None:
        absmax = (
            unpack.dequantize_blockwise.default(absmax_8bit, absmax, absmax_code, 256, torch.float32) + absmax_offset
        )
    weight = unpack.dequantize_4bit.default(packed, absmax, blocksize, quant_type, shape, torch.float32)
    return linear(states, weight, bias)
