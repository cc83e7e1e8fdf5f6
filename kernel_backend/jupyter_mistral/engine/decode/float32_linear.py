"""Matrix products in 32 bit, on x86 processors without AVX-512, which multiply bfloat16 slowly.

bitsandbytes unpacks a 4-bit weight to the dtype of the states and leaves the product to torch, which emulates bfloat16 on
such processors: five to six times slower than 32 bit at 256 tokens, and slower for one token too
(`tests/benchmarks/float32_linear.py`). 32 bit is exact for bfloat16 inputs and rounded once at the end.

The bits of a row must not depend on the number of rows (`kv/attention.py` says why). MKL's kernels sum in another order
where that number is no multiple of four, so rows are padded to one.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import bitsandbytes  # noqa: F401  # registers the operators used and replaced below
import torch
from torch.nn import functional

OP = "bitsandbytes::gemm_4bit"
ROW_GROUP = 4
_VISION = ("vision_tower", "multi_modal_projector")
_is_replaced = False


def is_faster() -> bool:
    """Whether torch emulates bfloat16 on this processor."""
    return platform.machine().lower() in {"x86_64", "amd64"} and not torch.backends.cpu.get_cpu_capability().startswith(
        "AVX512"
    )


def install() -> bool:
    """Replace bitsandbytes' 4-bit product on the CPU where this `is_faster`. Returns whether it is replaced.

    A bitsandbytes with its own CPU kernel keeps that.
    """
    global _is_replaced
    if not _is_replaced and is_faster() and not torch._C._dispatch_has_kernel_for_dispatch_key(OP, "CPU"):
        torch.library.register_kernel(OP, "cpu", four_bit)
        _is_replaced = True
    return _is_replaced


def widen(model: Any) -> None:
    """Do the same for the unquantized layers of a vision model, in place."""
    if is_faster():
        for name, module in model.named_modules():
            if type(module) is torch.nn.Linear and any(part in name for part in _VISION):
                module.__class__ = WideLinear


class WideLinear(torch.nn.Linear):
    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return linear(states, self.weight, self.bias)


def linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """States [..., columns] times weight [rows, columns] -> [..., rows], computed in 32 bit, in the dtype of the states."""
    flat = states.reshape(-1, states.shape[-1]).float()
    count = len(flat)
    filled = functional.pad(flat, (0, 0, 0, -count % ROW_GROUP))
    output = functional.linear(filled, weight.float(), None if bias is None else bias.float())
    return output[:count].to(states.dtype).reshape(*states.shape[:-1], len(weight))


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
    """States [..., columns] times the 4-bit weight of `shape` [rows, columns] -> [..., rows], in the dtype of the states.

    The parameters are those of bitsandbytes' operator. With `absmax_8bit` the scales are quantized too, in blocks of 256.
    """
    unpack = torch.ops.bitsandbytes
    if absmax_8bit is not None:
        absmax = (
            unpack.dequantize_blockwise.default(absmax_8bit, absmax, absmax_code, 256, torch.float32) + absmax_offset
        )
    weight = unpack.dequantize_4bit.default(packed, absmax, blocksize, quant_type, shape, torch.float32)
    return linear(states, weight, bias)
