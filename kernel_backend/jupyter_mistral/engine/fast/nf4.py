"""4-bit weights as bitsandbytes stores them, as matrices: read, joined without a second copy, multiplied in torch. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

GROUP = 64  # columns that share a scale
NESTED = 256  # scales that share a scale, where bitsandbytes quantizes them too
_SLICE = 2048  # rows unpacked at a time: 32 bit for all of a large layer would be a gigabyte

# The quantiles of a normal distribution that bitsandbytes rounds to (Dettmers et al., QLoRA, 2023, appendix E).
TABLE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


class Unfit(ValueError):
    """The fast path does not support this model or these weights; the message says why."""


@dataclass(frozen=True)
class Plain:
    """Unquantized scales: float32 [rows, columns // 64]."""

    absmax: Tensor

    def whole(self) -> Tensor:
        """float32 [rows, columns // 64]."""
        return self.absmax


@dataclass(frozen=True)
class Nested:
    """Scales in 8 bit: the scale of row r and group g is code[codes[r, g]] * absmax[(starts[r] + g) // 256] + offsets[r]."""

    codes: Tensor  # uint8 [rows, columns // 64]
    code: Tensor  # float32 [256]
    absmax: Tensor  # float32, one for every 256 codes of each joined part
    starts: Tensor  # int32 [rows]
    offsets: Tensor  # float32 [rows]

    def whole(self) -> Tensor:
        """float32 [rows, columns // 64], bit for bit those of bitsandbytes."""
        groups = torch.arange(self.codes.shape[1], device=self.codes.device)
        scales = self.code[self.codes.int()] * self.absmax[(self.starts[:, None] + groups) // NESTED]
        return scales + self.offsets[:, None]


Scales = Plain | Nested


@dataclass(frozen=True)
class Nf4:
    """A 4-bit matrix. Its tensors share memory with the layers that it was made from."""

    packed: Tensor  # uint8 [rows, columns // 2]; column 2 i in the high half of byte i
    scales: Scales
    table: Tensor  # float32 [16]
    rows: int
    columns: int

    def is_of(self, layers: Sequence[Any]) -> bool:
        """Whether the matrix still shares its memory with these layers. It does not after they were moved."""
        start, is_shared = self.packed.data_ptr(), True
        for layer in layers:
            weight, state = layer.weight, layer.weight.quant_state
            is_shared = is_shared and weight.data_ptr() == start and state.absmax.device == self.packed.device
            start += state.shape.numel() // 2
        return is_shared and start == self.packed.data_ptr() + self.packed.numel()


def of(layer: Any) -> Nf4:
    """The matrix of a bitsandbytes `Linear4bit` or its weight. Copies nothing but small tables. Raises `Unfit`."""
    weight = getattr(layer, "weight", layer)
    state = getattr(weight, "quant_state", None)
    if state is None:
        raise Unfit("the weights are not 4-bit")
    if getattr(state, "packing_format_for_cpu", False):
        raise Unfit("bitsandbytes has repacked the weights for this CPU")
    if state.quant_type != "nf4":
        raise Unfit(f"the weights are in {state.quant_type}, not nf4")
    if len(state.shape) != 2 or state.shape[1] % GROUP or state.blocksize != GROUP:
        raise Unfit(f"each scale covers {state.blocksize} weights of {tuple(state.shape)}, not {GROUP} of one row")
    rows, columns = state.shape
    packed = weight.data
    if not packed.is_contiguous() or packed.nbytes != rows * columns // 2:
        raise Unfit("the weights are not stored row by row")
    table = state.code.float()
    if not torch.equal(table.cpu(), torch.tensor(TABLE)):
        raise Unfit("the 16 values are not those of nf4")
    return Nf4(packed.view(-1).view(torch.uint8).view(rows, columns // 2), _scales(state), table, rows, columns)


def _scales(state: Any) -> Scales:
    rows, columns = state.shape
    groups = columns // GROUP
    if not state.nested:
        if state.absmax.dtype != torch.float32:
            raise Unfit(f"the scales are {state.absmax.dtype}")
        return Plain(state.absmax.view(rows, groups))
    if state.absmax.dtype != torch.uint8 or state.state2.blocksize != NESTED:
        raise Unfit(f"the scales are {state.absmax.dtype} in blocks of {state.state2.blocksize}")
    starts = torch.arange(0, rows * groups, groups, dtype=torch.int32, device=state.absmax.device)
    offsets = state.offset.float().expand(rows).contiguous()
    return Nested(state.absmax.view(rows, groups), state.state2.code, state.state2.absmax, starts, offsets)


def fuse(layers: Sequence[Any]) -> Nf4:
    """The rows of these layers as one matrix.

    Bytes and scales are copied into one buffer, and the layers' own parameters become views of it: bitsandbytes computes the
    same bits, and no memory is used twice. Moving a layer (as `Placement` does) separates it from the buffer: drop the matrix
    before, and fuse again after. Raises `Unfit` and changes nothing if the layers cannot be joined.
    """
    parts = [of(layer) for layer in layers]
    if len(parts) == 1:
        return parts[0]
    if len({part.columns for part in parts}) != 1 or len({part.packed.device for part in parts}) != 1:
        raise Unfit("the layers have inputs of different sizes, or are on different devices")
    scales = _joined([part.scales for part in parts])
    packed = torch.cat([part.packed for part in parts])
    start = blocks = 0
    for layer, part in zip(layers, parts, strict=True):
        weight, rows = getattr(layer, "weight", layer), slice(start, start + part.rows)
        state, start = weight.quant_state, start + part.rows
        weight.data = packed[rows].view(-1).view(weight.dtype).view(weight.shape)
        if isinstance(scales, Nested):
            state.absmax = scales.codes[rows].view(-1)
            state.state2.absmax = scales.absmax[blocks : (blocks := blocks + len(state.state2.absmax))]
            state.state2.code = scales.code
        else:
            state.absmax = scales.absmax[rows].view(-1)
    fused = Nf4(packed, scales, parts[0].table, start, parts[0].columns)
    if packed.is_cuda:
        # the freed buffers are too small for the next layers' joint one and would stay unused
        del parts, part
        torch.cuda.empty_cache()
    return fused


def _joined(parts: list[Scales]) -> Scales:
    nested = [part for part in parts if isinstance(part, Nested)]
    plain = [part for part in parts if isinstance(part, Plain)]
    if not nested:
        return Plain(torch.cat([part.absmax for part in plain]))
    if plain or any(not torch.equal(part.code, nested[0].code) for part in nested):
        raise Unfit("the layers' scales are stored in different ways")
    starts, before = [], 0
    for part in nested:
        starts.append(part.starts + before * NESTED)
        before += len(part.absmax)
    return Nested(
        torch.cat([part.codes for part in nested]),
        nested[0].code,
        torch.cat([part.absmax for part in nested]),
        torch.cat(starts),
        torch.cat([part.offsets for part in nested]),
    )


def dequantize(weight: Nf4, rows: slice = slice(None)) -> Tensor:
    """float32 [rows, columns]: the products of value and scale, without further rounding."""
    bytes_ = torch.arange(256, device=weight.table.device)
    pairs = torch.stack((weight.table[bytes_ >> 4], weight.table[bytes_ & 15]), 1)
    packed = weight.packed[rows]
    values = functional.embedding(packed.int(), pairs).view(len(packed), -1, GROUP)
    return (values * weight.scales.whole()[rows, :, None]).view(len(packed), weight.columns)


def linear(x: Tensor, weight: Nf4, bias: Tensor | None = None) -> Tensor:
    """[m, columns] -> [m, rows] in the dtype of x: exact weights, sums in float32, rounded once."""
    full = x.float()
    parts = [full @ dequantize(weight, slice(start, start + _SLICE)).T for start in range(0, weight.rows, _SLICE)]
    out = torch.cat(parts, 1)
    return (out if bias is None else out + bias.float()).to(x.dtype)
