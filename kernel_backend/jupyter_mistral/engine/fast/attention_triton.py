"""Attention of a decode step over the KV cache in place, in 16 bit or packed (`kv/packed.py`).

A sequence's blocks of 64 tokens are divided among a fixed number of splits, block b to split b % splits. So the grid is the
same for every length, and the order of sums depends on a token's position alone. A split runs through its blocks with the
running maximum of Flash Attention (arXiv 2205.14135); a second kernel joins the splits (Flash Decoding). The query heads that
share keys, and the tokens of one sequence, are the rows of one matrix product.
"""

# Triton's kernels are another language in Python's syntax:
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls, disable-error-code="no-any-return, assignment"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from ...models.memory import KEY_GROUP, KV_KINDS, VALUE_GROUP
from ..kv.sequence import BLOCK
from .slots import FIELDS, Slots
from .step_ops_triton import INTERPRETED, address, pointer, rounded

_PROGRAMS = 256  # for one long sequence: about two per multiprocessor of a large GPU
_LEAST_ROWS = 16  # of a matrix product on tensor cores
_LOG2_E = 1.4426950408889634  # the kernel computes powers of 2


@triton.jit
def _operand(x, INTERPRETED: tl.constexpr):
    """An operand in bfloat16; the interpreter multiplies in 32 bit only, so there it is only rounded."""
    return rounded(x, True) if INTERPRETED else x.to(tl.bfloat16)


@triton.jit
def _add(query, keys, values, seen, top, total, answer, scale, INTERPRETED: tl.constexpr):
    """Add a tile of keys and values [tile, width] to each row's running maximum, sum and weighted values."""
    scores = tl.dot(query, tl.trans(keys)).to(tl.float32) * scale
    scores = tl.where(seen, scores, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, 1))
    base = tl.where(higher == float("-inf"), 0.0, higher)  # a row may attend to nothing in this tile
    shrink = tl.exp2(top - base)
    weights = tl.exp2(scores - base[:, None])
    total = total * shrink + tl.sum(weights, 1)
    answer = answer * shrink[:, None] + tl.dot(_operand(weights, INTERPRETED), values).to(tl.float32)
    return higher, total, answer


@triton.jit
def _load_tile(
    start, first, last, SIZE: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr, INTERPRETED: tl.constexpr
):
    """Tokens `first` to `last` of a buffer of one head in 16 bit, zeros after the last."""
    at, tokens = tl.arange(0, WIDTH), first + tl.arange(0, TILE)
    mask = (tokens <= last)[:, None] & (at < SIZE)[None, :]
    tile = tl.load(start + tokens[:, None] * SIZE + at[None, :], mask=mask, other=0)
    return _operand(tile.to(tl.float32), INTERPRETED)


@triton.jit
def _unpack(
    row, head, first, SIZE: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr, BITS: tl.constexpr,
    HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Some tokens of one head of a block of integers. With 4 bits, the first half of all numbers is in the bytes' low bits."""
    at, tokens = tl.arange(0, WIDTH), first + tl.arange(0, TILE)
    starts = (head * BLOCK + tokens) * SIZE
    mask = (at < SIZE)[None, :]
    if BITS == 4:
        is_high = starts >= HALF
        steps = tl.load(
            pointer(row, tl.uint8) + tl.where(is_high, starts - HALF, starts)[:, None] + at[None, :], mask=mask, other=0
        )
        steps = (steps.to(tl.int32) >> tl.where(is_high, 4, 0)[:, None]) & 15
    else:
        steps = tl.load(pointer(row, tl.uint8) + starts[:, None] + at[None, :], mask=mask, other=0).to(tl.int32)
    return steps.to(tl.float32)


@triton.jit
def _unpack_keys(
    row, head, first, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
    BITS: tl.constexpr, BLOCK: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """A tile of keys is a group, with a minimum and a step per channel."""
    COUNT: tl.constexpr = KV_HEADS * BLOCK * SIZE
    steps = _unpack(row, head, first, SIZE, WIDTH, TILE, BITS, COUNT // 2, BLOCK)
    at = tl.arange(0, WIDTH)
    scales = pointer(row + COUNT * BITS // 8, tl.float16) + (head * BLOCK + first) // TILE * SIZE + at
    least = tl.load(scales, mask=at < SIZE, other=0).to(tl.float32)
    step = tl.load(scales + COUNT // TILE, mask=at < SIZE, other=0).to(tl.float32)
    return _operand(steps * step[None, :] + least[None, :], INTERPRETED)


@triton.jit
def _unpack_values(
    row, head, first, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
    BITS: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """A minimum and a step per token and group of channels."""
    COUNT: tl.constexpr = KV_HEADS * BLOCK * SIZE
    GROUPS: tl.constexpr = SIZE // GROUP
    steps = _unpack(row, head, first, SIZE, WIDTH, TILE, BITS, COUNT // 2, BLOCK)
    scales = pointer(row + COUNT * BITS // 8, tl.float16)
    scales += (head * BLOCK + first + tl.arange(0, TILE)) * GROUPS
    group = (tl.arange(0, WIDTH) // GROUP)[None, :]
    least = tl.zeros([TILE, WIDTH], tl.float32)
    step = tl.zeros([TILE, WIDTH], tl.float32)
    for n in tl.static_range(GROUPS):
        least = tl.where(group == n, tl.load(scales + n).to(tl.float32)[:, None], least)
        step = tl.where(group == n, tl.load(scales + COUNT // GROUP + n).to(tl.float32)[:, None], step)
    return _operand(steps * step + least, INTERPRETED)


@triton.jit
def _attend(
    QUERY, POSITIONS, FIRSTS, COUNTS, ADDRESSES, ANSWERS, TOPS, TOTALS, layer, scale,
    MOST: tl.constexpr, FIELDS: tl.constexpr, KV_HEADS: tl.constexpr, SHARING: tl.constexpr, ROOM: tl.constexpr,
    ROWS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr, BITS: tl.constexpr,
    TILE: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """One split of one sequence, for the SHARING query heads of one key head; each token has ROOM rows for them.

    Longer than 60 lines: both formats share the loop state, and Triton has no structs to pass it around.
    """
    head, split, slot = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    count = tl.load(COUNTS + slot).to(tl.int32)
    if count == 0:
        return
    token = tl.load(FIRSTS + slot).to(tl.int32)
    begin = tl.load(POSITIONS + token).to(tl.int32)
    last = begin + count - 1
    if split > last // BLOCK:
        return

    row, at = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    ahead, sharing = row // ROOM, row % ROOM
    is_used = (ahead < count) & (sharing < SHARING)
    place = (token + ahead) * (KV_HEADS * SHARING) + head * SHARING + sharing
    mask = is_used[:, None] & (at < SIZE)[None, :]
    query = tl.load(QUERY + place[:, None] * SIZE + at[None, :], mask=mask, other=0)
    query = _operand(query.to(tl.float32), INTERPRETED)
    own = tl.minimum(begin + ahead, last)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    answer = tl.zeros([ROWS, WIDTH], tl.float32)

    stride = address(ADDRESSES, layer, 2, token, MOST, FIELDS) * head
    keys_at = pointer(address(ADDRESSES, layer, 0, token, MOST, FIELDS), tl.bfloat16) + stride
    values_at = pointer(address(ADDRESSES, layer, 1, token, MOST, FIELDS), tl.bfloat16) + stride
    tokens = tl.arange(0, BLOCK)
    if BITS == 16:
        for block in range(split, last // BLOCK + 1, SPLITS):
            keys = _load_tile(keys_at, block * BLOCK, last, SIZE, WIDTH, BLOCK, INTERPRETED)
            values = _load_tile(values_at, block * BLOCK, last, SIZE, WIDTH, BLOCK, INTERPRETED)
            seen = (block * BLOCK + tokens)[None, :] <= own[:, None]
            top, total, answer = _add(query, keys, values, seen, top, total, answer, scale, INTERPRETED)
    else:
        NUMBERS: tl.constexpr = KV_HEADS * BLOCK * SIZE
        KEYS: tl.constexpr = NUMBERS * BITS // 8 + 4 * NUMBERS // TILE
        VALUES: tl.constexpr = NUMBERS * BITS // 8 + 4 * NUMBERS // GROUP
        rows = address(ADDRESSES, layer, 3, token, MOST, FIELDS)
        for block in range(split, last // BLOCK, SPLITS):
            packed = rows + tl.cast(block, tl.int64) * (KEYS + VALUES)
            for part in tl.static_range(BLOCK // TILE):
                first = part * TILE
                keys = _unpack_keys(packed, head, first, KV_HEADS, SIZE, WIDTH, TILE, BITS, BLOCK, INTERPRETED)
                values = _unpack_values(
                    packed + KEYS, head, first, KV_HEADS, SIZE, WIDTH, TILE, BITS, GROUP, BLOCK, INTERPRETED
                )
                seen = tl.full([ROWS, TILE], 1, tl.int1)
                top, total, answer = _add(query, keys, values, seen, top, total, answer, scale, INTERPRETED)
        if last // BLOCK % SPLITS == split:
            begun = last // BLOCK * BLOCK
            keys = _load_tile(keys_at, 0, last - begun, SIZE, WIDTH, BLOCK, INTERPRETED)
            values = _load_tile(values_at, 0, last - begun, SIZE, WIDTH, BLOCK, INTERPRETED)
            seen = (begun + tokens)[None, :] <= own[:, None]
            top, total, answer = _add(query, keys, values, seen, top, total, answer, scale, INTERPRETED)

    out = place * SPLITS + split
    tl.store(TOPS + out, top, mask=is_used)
    tl.store(TOTALS + out, total, mask=is_used)
    tl.store(ANSWERS + out[:, None] * WIDTH + at[None, :], answer, mask=is_used[:, None])


@triton.jit
def _join(
    POSITIONS, ANSWERS, TOPS, TOTALS, OUT,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr, BLOCK: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """One head of one token: the outputs of its splits, weighted by their share of the sum of exponentials."""
    token = tl.program_id(0)
    place = token * tl.num_programs(1) + tl.program_id(1)
    split, at = tl.arange(0, SPLITS), tl.arange(0, WIDTH)
    is_used = split <= tl.load(POSITIONS + token) // BLOCK
    tops = tl.load(TOPS + place * SPLITS + split, mask=is_used, other=float("-inf"))
    weights = tl.exp2(tops - tl.max(tops))
    total = tl.sum(weights * tl.load(TOTALS + place * SPLITS + split, mask=is_used, other=0))
    answers = tl.load(ANSWERS + (place * SPLITS + split)[:, None] * WIDTH + at[None, :], mask=is_used[:, None], other=0)
    answer = tl.sum(weights[:, None] * answers, 0) / total
    tl.store(OUT + place * SIZE + at, rounded(answer, INTERPRETED).to(tl.bfloat16), mask=at < SIZE)


def splits_of(kv_heads: int) -> int:
    """How many programs share one head of one sequence. Depends on the model alone, never on lengths."""
    return min(128, max(16, triton.next_power_of_2(_PROGRAMS // kv_heads)))


@dataclass(frozen=True)
class Shape:
    """The constants that the first kernel is compiled with."""

    fixed: dict[str, int | bool]
    options: dict[str, int]


def shape(kind: str, tokens: int, heads: int, kv_heads: int, size: int, splits: int | None = None) -> Shape:
    """For a step of this many tokens over this format of KV cache."""
    sharing, width = heads // kv_heads, triton.next_power_of_2(size)
    room = triton.next_power_of_2(sharing)
    rows = triton.next_power_of_2(max(_LEAST_ROWS, tokens * room))
    fixed: dict[str, int | bool] = {
        "MOST": tokens,
        "FIELDS": FIELDS,
        "KV_HEADS": kv_heads,
        "SHARING": sharing,
        "ROOM": room,
        "ROWS": rows,
        "SIZE": size,
        "WIDTH": width,
        "SPLITS": splits or splits_of(kv_heads),
        "BITS": KV_KINDS[kind],
        "TILE": BLOCK if kind == "bf16" else KEY_GROUP,
        "GROUP": min(VALUE_GROUP, size),
        "BLOCK": BLOCK,
    }
    return Shape(fixed, {"num_warps": 8 if rows * width >= 8192 else 4, "num_stages": 2})


def attend(query: torch.Tensor, slots: Slots, layer: int, scale: float, splits: int | None = None) -> torch.Tensor:
    tokens, heads, size = query.shape
    splits = splits or splits_of(slots.heads)
    constants = shape(slots.kind, tokens, heads, slots.heads, size, splits)
    width = triton.next_power_of_2(size)
    answers = torch.empty(tokens, heads, splits, width, dtype=torch.float32, device=query.device)
    tops, totals = answers.new_empty(2, tokens, heads, splits)
    _attend[(slots.heads, splits, tokens)](
        query.contiguous(),
        slots.positions,
        slots.firsts,
        slots.counts,
        slots.addresses,
        answers,
        tops,
        totals,
        layer,
        scale * _LOG2_E,
        **constants.fixed,
        INTERPRETED=INTERPRETED,
        **constants.options,
    )
    out = query.new_empty(tokens, heads * size)
    _join[(tokens, heads)](
        slots.positions,
        answers,
        tops,
        totals,
        out,
        SIZE=size,
        WIDTH=width,
        SPLITS=splits,
        BLOCK=BLOCK,
        INTERPRETED=INTERPRETED,
        num_warps=4,
    )
    return out
