"""Run by `test_interpreted.py` under Triton's interpreter: attention over the KV cache in place."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from effort import first
from jupyter_mistral.engine.fast import attention_triton, step_ops
from jupyter_mistral.engine.fast.attention_triton import _unpack_keys, _unpack_values
from jupyter_mistral.engine.fast.slots import Slots
from jupyter_mistral.engine.kv.packed import new_sequence
from jupyter_mistral.engine.kv.sequence import Pack
from jupyter_mistral.models.memory import KV_KINDS

# of the length of the answers; torch's own attention in bfloat16 is as far from the exact one (0.0022)
MOST_ERROR = 0.003
LAYER = 1  # of two: a kernel that looks into another one's memory is found out


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape).bfloat16()


def held(kind: str, heads: int, size: int, *parts: tuple[int, int], seed: int = 0) -> Pack:
    """Sequences of random tokens; parts: how many each holds, and how many more a step gives it."""
    pack = []
    for number, (length, count) in enumerate(parts):
        torch.manual_seed(seed + number)
        sequence, _ = new_sequence(2, kind)
        for layer in sequence.layers:
            many = max(1, length)  # a layer that has held nothing yet knows no shape
            list(layer.append_tokens(random(1, heads, many, size), random(1, heads, many, size)))
            layer.cut(length)
        pack.append((sequence, count))
    return pack


class Step:
    """Tokens whose keys and values are written; `group` query heads to a head of keys."""

    def __init__(self, kind: str, heads: int, group: int, size: int, pack: Pack, most: int) -> None:
        self.pack, self.group, self._scale = pack, group, size**-0.5
        self.slots = Slots(2, most, kind, "cpu")
        self.slots.fill(pack)
        torch.manual_seed(99)
        still = torch.ones(most, size).bfloat16(), torch.zeros(most, size).bfloat16()
        self.query = step_ops.rotate_and_append(random(most, heads * (group + 2) * size), *still, self.slots, LAYER)
        self.count = sum(count for _, count in pack)

    def attend(self, splits: int | None = 4) -> torch.Tensor:
        found = attention_triton.attend(self.query, self.slots, LAYER, self._scale, splits)
        assert bool(found.isfinite().all()), "padding too"
        return found[: self.count]

    @property
    def torchs(self) -> torch.Tensor:
        return step_ops.attend(self.query, self.slots, LAYER, self._scale)[: self.count]

    @property
    def exact(self) -> torch.Tensor:
        answers, queries = [], iter(self.query.double())
        for sequence, count in self.pack:
            keys, values = (
                t[0].double().repeat_interleave(self.group, 0) for t in sequence.layers[LAYER].visible(count)
            )
            for stop in range(sequence.length + 1, sequence.length + count + 1):
                scores = torch.einsum("hd,htd->ht", next(queries), keys[:, :stop]) * self._scale
                answers.append(torch.einsum("ht,htd->hd", scores.softmax(1), values[:, :stop]).flatten())
        return torch.stack(answers)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float(((found.double() - exact).norm(dim=1) / exact.norm(dim=1)).max())


@pytest.mark.parametrize("kind", first(2, sorted(KV_KINDS, key=["bf16", "int4", "int8"].index)))
@pytest.mark.parametrize(
    ("heads", "group", "size", "parts"),
    first(
        1,
        [
            (3, 4, 128, [(130, 1)]),  # in 4 bit, the second head is half in the low and half in the high ones
            (2, 3, 64, [(300, 3), (64, 2), (1, 1)]),  # with padding, from the start of a block, and a second token
            (1, 8, 64, [(0, 1), (63, 1), (127, 1), (191, 1), (62, 2), (5, 1)]),  # ends of blocks
        ],
    ),
)
def test_outputs_are_as_close_to_exact_ones_as_torchs(
    kind: str, heads: int, group: int, size: int, parts: list[tuple[int, int]]
) -> None:
    step = Step(kind, heads, group, size, held(kind, heads, size, *parts), 8)
    found = error(step.attend(), step.exact)
    assert found < MOST_ERROR and found < 1.2 * error(step.torchs, step.exact)


@pytest.mark.parametrize(("kind", "size"), first(1, [("int4", 32), ("bf16", 96), ("bf16", 80), ("int8", 32)]))
def test_heads_of_other_sizes_work(kind: str, size: int) -> None:
    step = Step(kind, 2, 2, size, held(kind, 2, size, (150, 2)), 2)
    assert error(step.attend(), step.exact) < MOST_ERROR


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "length"), [("bf16", 6_000), ("int4", 3_000)])
def test_a_long_sequence_beside_a_short_one(kind: str, length: int) -> None:
    step = Step(kind, 1, 4, 64, held(kind, 1, 64, (length, 1), (3, 1)), 2)
    assert error(step.attend(2), step.exact) < MOST_ERROR


@triton.jit
def _unpack(
    row, KEYS, VALUES, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, BITS: tl.constexpr, GROUP: tl.constexpr, half
):  # fmt: skip
    """One head of a block, as the kernel reads it."""
    head, at = tl.program_id(0), tl.arange(0, SIZE)
    for part in tl.static_range(2):
        first = part * 32
        keys = _unpack_keys(row, head, first, KV_HEADS, SIZE, SIZE, 32, BITS, 64, True)
        values = _unpack_values(row + half, head, first, KV_HEADS, SIZE, SIZE, 32, BITS, GROUP, 64, True)
        to = ((head * 64 + first + tl.arange(0, 32)) * SIZE)[:, None] + at[None, :]
        tl.store(KEYS + to, keys)
        tl.store(VALUES + to, values)


@pytest.mark.parametrize(
    ("kind", "heads", "size"),
    first(2, [("int8", 2, 64), ("int4", 3, 64), ("int8", 2, 128), ("int4", 2, 128), ("int4", 1, 32)]),
)
def test_blocks_are_unpacked_to_the_bits_of_the_codec(kind: str, heads: int, size: int) -> None:
    ((sequence, _),) = held(kind, heads, size, (0, 1))
    layer = sequence.layers[0]
    key, value = (random(1, heads, 64, size) * torch.logspace(-4, 1, size) for _ in range(2))
    list(layer.append_tokens(key.bfloat16(), value.bfloat16()))
    found = torch.empty(2, heads, 64, size)
    numbers = heads * 64 * size
    bits = KV_KINDS[kind]
    half = numbers * bits // 8 + numbers // 8
    _unpack[(heads,)](layer.address().blocks, *found, heads, size, bits, min(64, size), half)
    for ours, theirs in zip(found, layer.visible(0), strict=True):
        assert torch.equal(ours, theirs[0].float())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "draft"), [("bf16", 4), ("int8", 2)])
def test_neighbours_and_drafts_do_not_change_a_bit(kind: str, draft: int) -> None:
    """In 16 bit the draft goes on into another block."""

    def first(*parts: tuple[int, int]) -> torch.Tensor:
        return Step(kind, 2, 2, 64, held(kind, 2, 64, *parts), 4).attend()[0]

    alone = first((254, 1))
    assert torch.equal(alone, first((254, draft)))
    assert torch.equal(alone, first((254, 2), (900, 2)))


@pytest.mark.slow
def test_as_many_splits_as_a_gpu_gets() -> None:
    step = Step("int8", 2, 2, 64, held("int8", 2, 64, (700, 1)), 1)
    assert attention_triton.splits_of(2) == 128 and attention_triton.splits_of(8) == 32
    assert error(step.attend(None), step.exact) < MOST_ERROR
