"""Kernels for 4-bit matrices and an 8-bit head, for 1 to 16 tokens at a time. `nf4.linear` is the reference of the first.

Weights are the large operand of the tensor cores and tokens the small one, so 8 tokens cost as much as one. Bytes go from
memory to the registers of the tensor cores without being rearranged: the two numbers of a byte multiply the even and the odd
columns of x in two products, so nothing is interleaved. Each scale multiplies the sums of its 64 columns, in 32 bit.
"""

# Triton's kernels are another language in Python's syntax:
# ruff: noqa: RUF005  # it has no unpacking
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls, disable-error-code="no-any-return, assignment, var-annotated"

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import cycle, islice

import torch
import triton
import triton.language as tl
from triton.runtime.errors import OutOfResources

from .nf4 import GROUP, NESTED, TABLE, Nested, Nf4
from .nf4_plan import ARRIVALS, HALF, Plan, candidates, keep, plan
from .step_ops_triton import INTERPRETED, rounded

MOST = 16  # tokens of a call
# The table times this factor is rounded to bfloat16; the sums are divided by it. It is the factor with the least error: 0.08 %
# (root mean square, normally distributed weights), against 0.14 % with factor 1 and 0.17 % with bitsandbytes' rounding.
STRETCH = 1.43670654296875
VALUES = (torch.tensor(TABLE, dtype=torch.float64) * STRETCH).bfloat16()

_HALF = tl.constexpr(HALF)
_BYTES = tl.constexpr(GROUP // 2)
_SHIFT = tl.constexpr(NESTED.bit_length() - 1)
_PRODUCTS, _BYTES_TIMED = 200, 20 * 10**9  # the most per timing, if the model does not have more matrices of a shape
_WARPS = 2  # with 4, the compiler for Hopper would choose products that read x from shared memory only


def _plane(shift: int) -> list[str]:
    """One byte of each of the 16 values, four per register."""
    bytes_ = (VALUES.view(torch.int16).int() >> shift & 255).tolist()
    return [f"0x{int.from_bytes(bytes(bytes_[at : at + 4]), 'little'):08x}" for at in range(0, 16, 4)]


def _decoder() -> str:
    """PTX from 4 bytes ($4) to the values of their upper halves ($0, $1) and lower halves ($2, $3), by byte permutation.

    One permutation looks up four 3-bit numbers among 8 bytes. So each half of the table is looked up by the lower 3 bits of
    four numbers, and their fourth bits choose between the two. This is done once for each byte of a bfloat16.
    """
    lines = [
        "{ .reg .b32 low, pick, a, b, l, h;",
        "and.b32 low, $4, 0x77777777;",
        "shr.u32 pick, $4, 1;",
        "lop3.b32 pick, pick, 0x44444444, 0x32103210, 0xea;",  # (pick & 0x44444444) | 0x32103210
    ]
    for part in range(2):
        if part:
            lines += ["shr.u32 low, low, 16;", "shr.u32 pick, pick, 16;"]
        for name, shift in (("l", 0), ("h", 8)):
            plane = _plane(shift)
            lines += [
                f"prmt.b32 a, {plane[0]}, {plane[1]}, low;",
                f"prmt.b32 b, {plane[2]}, {plane[3]}, low;",
                f"prmt.b32 {name}, a, b, pick;",
            ]
        lines += [f"prmt.b32 ${part}, l, h, 0x7351;", f"prmt.b32 ${part + 2}, l, h, 0x6240;"]
    return "\n".join([*lines, "}"])


DECODER = tl.constexpr(_decoder())


@triton.jit
def _unpacked(packed, VALUES, BY_BYTES: tl.constexpr):
    """The values of the upper and of the lower halves of bytes."""
    if BY_BYTES:
        upper, lower = tl.inline_asm_elementwise(
            DECODER, "=r,=r,=r,=r,r", [packed], dtype=(tl.bfloat16, tl.bfloat16), is_pure=True, pack=4
        )
    else:
        upper, lower = tl.load(VALUES + (packed >> 4)), tl.load(VALUES + (packed & 15))
    return upper, lower


@triton.jit
def _columns(pair, INTERPRETED: tl.constexpr):
    """The even and the odd column of two neighbours in bfloat16, read as one int32."""
    if INTERPRETED:
        even = (pair << 16).to(tl.float32, bitcast=True)
        odd = ((pair >> 16) << 16).to(tl.float32, bitcast=True)
    else:
        even = (pair & 0xFFFF).to(tl.int16).to(tl.bfloat16, bitcast=True)
        odd = (pair >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    return even, odd


@triton.jit
def _finish(result, BIAS, OUT, row, token, rows, m, BIASED: tl.constexpr, INTERPRETED: tl.constexpr):
    if BIASED:
        result += tl.load(BIAS + row, mask=row < rows, other=0).to(tl.float32)[:, None]
    if INTERPRETED:
        result = rounded(result, INTERPRETED)
    mask = (row < rows)[:, None] & (token < m)[None, :]
    tl.store(OUT + token[None, :] * rows + row[:, None], result.to(OUT.dtype.element_ty), mask=mask)


@triton.jit(
    do_not_specialize=["m", "per"]
)  # one kernel for all their values. Longer than 60 lines: it shares 20 locals
def _nf4(
    X, PACKED, ABSMAX, CODES, CODE, STARTS, OFFSETS, VALUES, BIAS, OUT, PARTS, ARRIVED,
    m, rows, pairs, per, shrink,
    SPLITS: tl.constexpr, HALVES: tl.constexpr, GROUPS: tl.constexpr, EVEN: tl.constexpr, TOKENS: tl.constexpr,
    IS_NESTED: tl.constexpr, BIASED: tl.constexpr, BY_BYTES: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    split, tile = tl.program_id(0), tl.program_id(1)
    token, byte = tl.arange(0, TOKENS), tl.arange(0, _BYTES)
    groups = pairs // _BYTES
    first = split * per
    last = tl.minimum(first + per, groups)
    x_at = X + token[None, :] * pairs + byte[:, None]
    some = (token < m)[None, :]

    sums, packed_at, scale_at, starts, offsets, ahead = (), (), (), (), (), ()
    for half in tl.static_range(HALVES):
        # rows past the end read the last row and are not written
        row = tl.minimum((tile * HALVES + half) * _HALF + tl.arange(0, _HALF), rows - 1)
        sums = sums + (tl.zeros((_HALF, TOKENS), tl.float32),)
        packed_at = packed_at + (PACKED + row[:, None].to(tl.int64) * pairs + byte[None, :],)
        scale_at = scale_at + ((CODES if IS_NESTED else ABSMAX) + row * groups,)
        if IS_NESTED:
            starts = starts + (tl.load(STARTS + row),)
            offsets = offsets + (tl.load(OFFSETS + row),)
        for j in tl.static_range(GROUPS):
            ahead = ahead + (tl.load(scale_at[half] + tl.minimum(first + j, groups - 1)),)

    for start in range(first, last, GROUPS):
        # load the next iteration's scales now, so that nothing waits for them later
        scales, ahead = ahead, ()
        for half in tl.static_range(HALVES):
            for j in tl.static_range(GROUPS):
                ahead = ahead + (tl.load(scale_at[half] + tl.minimum(start + GROUPS + j, groups - 1)),)
        outers = ()
        if IS_NESTED and EVEN:
            for half in tl.static_range(HALVES):
                outers = outers + (tl.load(ABSMAX + ((starts[half] + start) >> _SHIFT)),)
        for j in tl.static_range(GROUPS):
            group = start + j if EVEN else tl.minimum(start + j, groups - 1)
            pair = tl.load(x_at + group * _BYTES, mask=some, other=0, cache_modifier=".ca")
            even, odd = _columns(pair, INTERPRETED)
            before, sums = sums, ()
            for half in tl.static_range(HALVES):
                packed = tl.load(packed_at[half] + group * _BYTES, eviction_policy="evict_first")
                upper, lower = _unpacked(packed, VALUES, BY_BYTES)
                dot = tl.dot(lower, odd, tl.dot(upper, even))
                scale = scales[half * GROUPS + j]
                if IS_NESTED:
                    # in whole iterations, all groups of one share an outer scale
                    outer = outers[half] if EVEN else tl.load(ABSMAX + ((starts[half] + group) >> _SHIFT))
                    scale = tl.load(CODE + scale.to(tl.int32)) * outer + offsets[half]
                if not EVEN:
                    scale = tl.where(start + j < last, scale, 0.0)
                sums = sums + (before[half] + scale[:, None] * dot,)

    for half in tl.static_range(HALVES):
        row = (tile * HALVES + half) * _HALF + tl.arange(0, _HALF)
        if SPLITS == 1:
            _finish(sums[half] * shrink, BIAS, OUT, row, token, rows, m, BIASED, INTERPRETED)
        else:
            mask = (row < rows)[:, None] & some
            tl.store(PARTS + (split * m + token[None, :]) * rows + row[:, None], sums[half], mask=mask)
    if SPLITS > 1:
        tl.debug_barrier()
        # the last program sums the parts, always in the same order, and resets the counter
        if tl.atomic_add(ARRIVED + tile, 1, sem="acq_rel") == SPLITS - 1:
            tl.store(ARRIVED + tile, 0)
            for half in tl.static_range(HALVES):
                row = (tile * HALVES + half) * _HALF + tl.arange(0, _HALF)
                mask = (row < rows)[:, None] & some
                total = tl.zeros((_HALF, TOKENS), tl.float32)
                for part in range(SPLITS):
                    at = PARTS + (part * m + token[None, :]) * rows + row[:, None]
                    total += tl.load(at, mask=mask, other=0, cache_modifier=".cg")
                _finish(total * shrink, BIAS, OUT, row, token, rows, m, BIASED, INTERPRETED)


@triton.jit(do_not_specialize=["m"])
def _int8(
    X, WEIGHTS, SCALES, OUT, m, rows, columns,
    HALVES: tl.constexpr, WIDTH: tl.constexpr, EVEN: tl.constexpr, TOKENS: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    token, column = tl.arange(0, TOKENS), tl.arange(0, WIDTH)
    some = (token < m)[None, :]
    sums, weights_at = (), ()
    for half in tl.static_range(HALVES):
        row = tl.minimum((tl.program_id(0) * HALVES + half) * _HALF + tl.arange(0, _HALF), rows - 1)
        sums = sums + (tl.zeros((_HALF, TOKENS), tl.float32),)
        weights_at = weights_at + (WEIGHTS + row[:, None].to(tl.int64) * columns + column[None, :],)
    x_at = X + token[None, :] * columns + column[:, None]
    kind: tl.constexpr = tl.float32 if INTERPRETED else tl.bfloat16
    for start in range(0, columns, WIDTH):
        mask = some if EVEN else some & (start + column < columns)[:, None]
        x = tl.load(x_at + start, mask=mask, other=0, cache_modifier=".ca").to(kind)
        before, sums = sums, ()
        for half in tl.static_range(HALVES):
            if EVEN:
                weights = tl.load(weights_at[half] + start, eviction_policy="evict_first")
            else:
                weights = tl.load(weights_at[half] + start, mask=(start + column < columns)[None, :], other=0)
            sums = sums + (tl.dot(weights.to(kind), x, before[half]),)
    for half in tl.static_range(HALVES):
        row = (tl.program_id(0) * HALVES + half) * _HALF + tl.arange(0, _HALF)
        scale = tl.load(SCALES + row, mask=row < rows, other=0).to(tl.float32)
        _finish(sums[half] * scale[:, None], SCALES, OUT, row, token, rows, m, False, INTERPRETED)


def linear(x: torch.Tensor, weight: Nf4, bias: torch.Tensor | None = None) -> torch.Tensor:
    """[m, columns] -> [m, rows], both bfloat16, m from 1 to 16, summed in 32 bit. A CUDA graph may record it after a first call.

    Use one stream at a time: programs that share a row use one counter.
    """
    return _linear(x, weight, bias, plan(weight.rows, weight.columns, isinstance(weight.scales, Nested)))


def _linear(x: torch.Tensor, weight: Nf4, bias: torch.Tensor | None, cut: Plan) -> torch.Tensor:
    m, scales = _tokens(x, weight.columns), weight.scales
    out = x.new_empty((m, weight.rows))
    parts, arrived = out, out
    if cut.splits > 1:
        parts = torch.empty((cut.splits, m, weight.rows), dtype=torch.float32, device=x.device)
        arrived = _arrived(x.device)
    per = cut.per(weight.columns)
    if isinstance(scales, Nested):
        stored = scales.absmax, scales.codes, scales.code, scales.starts, scales.offsets
    else:
        stored = (scales.absmax,) * 5
    _nf4[(cut.splits, cut.tiles(weight.rows))](
        x.contiguous().view(torch.int32), weight.packed, *stored, _values(x.device), out if bias is None else bias, out,
        parts, arrived, m, weight.rows, weight.columns // 2, per, 1 / STRETCH,
        SPLITS=cut.splits, HALVES=cut.halves, GROUPS=cut.groups, EVEN=weight.columns // GROUP % cut.groups == 0,
        TOKENS=8 if m <= 8 else MOST, IS_NESTED=isinstance(scales, Nested), BIASED=bias is not None,
        BY_BYTES=_permutes_bytes(), INTERPRETED=INTERPRETED, num_warps=_WARPS, num_stages=cut.stages,
    )  # fmt: skip
    return out


def int8_head(x: torch.Tensor, weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Scores [m, rows] in bfloat16 of x [m, columns], m from 1 to 16, for weights int8 [rows, columns] times scales [rows]."""
    rows, columns = weights.shape
    m, cut, width = _tokens(x, columns), Plan(), 2 * GROUP
    out = x.new_empty((m, rows))
    _int8[(cut.tiles(rows),)](
        x.contiguous(), weights, scales, out, m, rows, columns, HALVES=cut.halves, WIDTH=width, EVEN=columns % width == 0,
        TOKENS=8 if m <= 8 else MOST, INTERPRETED=INTERPRETED, num_warps=_WARPS, num_stages=cut.stages,
    )  # fmt: skip
    return out


def bytes_read(weight: Nf4) -> int:
    """Bytes of one call: each byte of the matrix once, whatever the number of tokens."""
    scales = weight.scales
    parts = (
        (scales.codes, scales.code, scales.absmax, scales.starts, scales.offsets)
        if isinstance(scales, Nested)
        else (scales.absmax,)
    )
    return weight.packed.nbytes + sum(part.nbytes for part in parts)


def _timed(weights: Sequence[Nf4], cut: Plan) -> float:
    """Milliseconds per product over these matrices in turn. Recorded as a graph, like steps: single launches take longer than
    small products, and would be what is timed."""
    assert weights[0].packed.is_cuda and not torch.cuda.is_current_stream_capturing()
    x = torch.ones((1, weights[0].columns), dtype=torch.bfloat16, device=weights[0].packed.device)
    _linear(x, weights[0], None, cut)  # compiles
    count = max(len(weights), min(_PRODUCTS, _BYTES_TIMED // bytes_read(weights[0])))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for weight in islice(cycle(weights), count):
            _linear(x, weight, None, cut)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    graph.replay()
    begin.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / count


def tune(
    weight: Nf4,
    others: Sequence[Nf4] = (),
    until: float = math.inf,
    timed: Callable[[Sequence[Nf4], Plan], float] = _timed,
) -> Plan:
    """Time some plans on the device and keep the best for matrices of this shape. At load, never while a graph is recorded.

    others: the model's other matrices of the shape, read in turn so that none is in the cache. until: the `time.monotonic()`
    after which no other plan is tried; compiling one takes seconds.
    """
    is_nested = isinstance(weight.scales, Nested)
    best = math.inf, plan(weight.rows, weight.columns, is_nested)
    for cut in candidates(weight.rows, weight.columns):
        if time.monotonic() >= until:
            break
        try:
            spent = timed([weight, *others], cut)
        except OutOfResources:  # this device has too little shared memory per program
            continue
        best = min(best, (spent, cut), key=lambda pair: pair[0])
    keep(weight.rows, weight.columns, is_nested, best[1])
    return best[1]


def _tokens(x: torch.Tensor, columns: int) -> int:
    m, size = x.shape
    assert 1 <= m <= MOST and size == columns and x.dtype == torch.bfloat16
    return m


def _permutes_bytes() -> bool:
    return not INTERPRETED and torch.version.hip is None


@cache
def _values(device: torch.device) -> torch.Tensor:
    return (VALUES.float() if INTERPRETED else VALUES).to(device)


@cache
def _arrived(device: torch.device) -> torch.Tensor:
    """Counters that each call leaves at zero. Allocated before a graph is recorded, by the call that compiles."""
    return torch.zeros(ARRIVALS, dtype=torch.int32, device=device)
