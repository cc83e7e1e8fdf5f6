"""Kernels for a decode step besides its matrices; `small.py` is their reference. One program per row."""

# Triton's kernels are another language in Python's syntax:
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls, disable-error-code="no-any-return, assignment"

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl

from ..kv.sequence import BLOCK
from .slots import FIELDS, Slots
from .step_ops import Norms

# Triton's interpreter stores bfloat16 as integers: it cannot compute with them, and truncates where a GPU rounds
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_CHUNK = 1024  # columns per program of silu_mul


@triton.jit
def rounded(x, INTERPRETED: tl.constexpr):
    """32-bit numbers rounded to bfloat16, still in 32 bit."""
    if INTERPRETED:
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        near = bits.to(tl.float32, bitcast=True)
    else:
        near = x.to(tl.bfloat16).to(tl.float32)
    return near


@triton.jit
def address(addresses, layer, field: tl.constexpr, token, MOST: tl.constexpr, FIELDS: tl.constexpr):
    """A field of a `LayerAddress`."""
    return tl.multiple_of(tl.load(addresses + (layer * FIELDS + field) * MOST + token), 16)


@triton.jit
def pointer(number, TYPE: tl.constexpr):
    """The pointer of an address. Tells the compiler that it is a multiple of 16, so that 16 bytes are read or written at once: the
    compiler knows nothing about addresses from memory. All buffers are aligned so, and heads are a multiple of 16 numbers."""
    return tl.multiple_of(number.to(tl.pointer_type(TYPE)), 16)


@triton.jit
def _norm(
    X, DELTA, WEIGHT, ADDED, OUT, columns, eps, ADD: tl.constexpr, WIDTH: tl.constexpr, INTERPRETED: tl.constexpr
):
    start = tl.program_id(0).to(tl.int64) * columns
    at = tl.arange(0, WIDTH)
    mask = at < columns
    x = tl.load(X + start + at, mask=mask, other=0).to(tl.float32)
    if ADD:
        x = rounded(x + tl.load(DELTA + start + at, mask=mask, other=0).to(tl.float32), INTERPRETED)
        tl.store(ADDED + start + at, x.to(tl.bfloat16), mask=mask)
    x = rounded(x * tl.rsqrt(tl.sum(x * x) / columns + eps), INTERPRETED)
    x = rounded(x * tl.load(WEIGHT + at, mask=mask, other=0).to(tl.float32), INTERPRETED)
    tl.store(OUT + start + at, x.to(tl.bfloat16), mask=mask)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return _normed(x, None, weight, eps)[1]


def add_rms_norm(
    x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return _normed(x, delta.contiguous(), weight, eps)


def _normed(
    x: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    x, columns = x.contiguous(), x.shape[-1]
    added = x if delta is None else torch.empty_like(x)
    out = torch.empty_like(x)
    width = triton.next_power_of_2(columns)
    _norm[(x.numel() // columns,)](
        x,
        delta,
        weight,
        added,
        out,
        columns,
        eps,
        ADD=delta is not None,
        WIDTH=width,
        INTERPRETED=INTERPRETED,
        num_warps=min(16, max(1, width // 512)),
    )
    return added, out


@triton.jit
def _rotated(
    row, weight, cos, sin, eps, NORM: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, INTERPRETED: tl.constexpr
):
    """One head of one token, normalized if requested, and rotated."""
    at = tl.arange(0, WIDTH)
    mask = at < SIZE
    other = tl.where(at < SIZE // 2, at + SIZE // 2, at - SIZE // 2)
    x = tl.load(row + at, mask=mask, other=0).to(tl.float32)
    beside = tl.load(row + other, mask=mask, other=0).to(tl.float32)
    if NORM:
        scale = tl.rsqrt(tl.sum(x * x) / SIZE + eps)
        x = rounded(x * scale, INTERPRETED)
        x = rounded(x * tl.load(weight + at, mask=mask, other=0).to(tl.float32), INTERPRETED)
        beside = rounded(beside * scale, INTERPRETED)
        beside = rounded(beside * tl.load(weight + other, mask=mask, other=0).to(tl.float32), INTERPRETED)
    beside = tl.where(at < SIZE // 2, -beside, beside)
    x = rounded(x * tl.load(cos + at, mask=mask, other=0).to(tl.float32), INTERPRETED)
    beside = rounded(beside * tl.load(sin + at, mask=mask, other=0).to(tl.float32), INTERPRETED)
    return rounded(x + beside, INTERPRETED).to(tl.bfloat16)


@triton.jit
def _append(
    QKV, COS, SIN, Q_NORM, K_NORM, POSITIONS, ADDRESSES, QUERY, layer, heads, eps,
    MOST: tl.constexpr, FIELDS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr,
    BLOCK: tl.constexpr, PACKED: tl.constexpr, NORM: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    token, head = tl.program_id(0), tl.program_id(1)
    row = QKV + (token * (heads + 2 * KV_HEADS) + head) * SIZE
    cos, sin = COS + token * SIZE, SIN + token * SIZE
    at = tl.arange(0, WIDTH)
    mask = at < SIZE
    if head < heads:
        x = _rotated(row, Q_NORM, cos, sin, eps, NORM, SIZE, WIDTH, INTERPRETED)
        tl.store(QUERY + (token * heads + head) * SIZE + at, x, mask=mask)
    else:
        at_token = tl.load(POSITIONS + token)
        if PACKED:
            at_token = at_token % BLOCK
        stride = address(ADDRESSES, layer, 2, token, MOST, FIELDS)
        if head < heads + KV_HEADS:
            x = _rotated(row, K_NORM, cos, sin, eps, NORM, SIZE, WIDTH, INTERPRETED)
            to = pointer(address(ADDRESSES, layer, 0, token, MOST, FIELDS), tl.bfloat16)
            tl.store(to + (head - heads) * stride + at_token * SIZE + at, x, mask=mask)
        else:
            to = pointer(address(ADDRESSES, layer, 1, token, MOST, FIELDS), tl.bfloat16)
            x = tl.load(row + at, mask=mask)
            tl.store(to + (head - heads - KV_HEADS) * stride + at_token * SIZE + at, x, mask=mask)


def rotate_and_append(
    qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, slots: Slots, layer: int, norms: Norms | None = None
) -> torch.Tensor:
    tokens, size, kv_heads = qkv.shape[0], slots.size, slots.heads
    heads = qkv.shape[1] // size - 2 * kv_heads
    query = qkv.new_empty(tokens, heads, size)
    q_norm, k_norm, eps = norms or (qkv, qkv, 0.0)
    _append[(tokens, heads + 2 * kv_heads)](
        qkv.contiguous(),
        cos.contiguous(),
        sin.contiguous(),
        q_norm,
        k_norm,
        slots.positions,
        slots.addresses,
        query,
        layer,
        heads,
        eps,
        MOST=slots.most,
        FIELDS=FIELDS,
        KV_HEADS=kv_heads,
        SIZE=size,
        WIDTH=triton.next_power_of_2(size),
        BLOCK=BLOCK,
        PACKED=slots.kind != "bf16",
        NORM=norms is not None,
        INTERPRETED=INTERPRETED,
        num_warps=1,
    )
    return query


@triton.jit
def _silu_mul(GATE_UP, OUT, columns, CHUNK: tl.constexpr, INTERPRETED: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    mask = at < columns
    gate = tl.load(GATE_UP + row * 2 * columns + at, mask=mask, other=0).to(tl.float32)
    up = tl.load(GATE_UP + row * 2 * columns + columns + at, mask=mask, other=0).to(tl.float32)
    gate = rounded(gate / (1 + tl.exp(-gate)), INTERPRETED)
    tl.store(OUT + row * columns + at, rounded(gate * up, INTERPRETED).to(tl.bfloat16), mask=mask)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    tokens, columns = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(tokens, columns)
    grid = tokens, triton.cdiv(columns, _CHUNK)
    _silu_mul[grid](gate_up.contiguous(), out, columns, CHUNK=_CHUNK, INTERPRETED=INTERPRETED, num_warps=4)
    return out
