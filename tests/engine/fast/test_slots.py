"""Steps that write keys and values in place leave sequences in the same state as forwards, bit for bit."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jupyter_mistral.engine.fast import step_ops
from jupyter_mistral.engine.fast.slots import Slots
from jupyter_mistral.engine.kv.attention import packed_attention
from jupyter_mistral.engine.kv.packed import new_sequence
from jupyter_mistral.engine.kv.sequence import BLOCK, Pack, Sequence
from jupyter_mistral.models.memory import KV_KINDS

LAYERS, HEADS, GROUP, SIZE = 2, 3, 2, 64


@pytest.fixture(params=KV_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


class Text:
    """Queries, keys and values of each of a text's tokens in each layer; `cos` and `sin` are of its places."""

    def __init__(self, tokens: int, seed: int = 0) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self.qkv = self.new(tokens)

    def new(self, tokens: int) -> torch.Tensor:
        shape = LAYERS, tokens, (HEADS * GROUP + 2 * HEADS) * SIZE
        return torch.randn(shape, generator=self._random).bfloat16()


def angles(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = positions[:, None] / 10000 ** (torch.arange(0, SIZE, 2) / SIZE)
    found = torch.cat([found, found], 1)
    return found.cos().bfloat16(), found.sin().bfloat16()


def empty(kind: str) -> Sequence:
    """A sequence as a decoder's warm-up leaves it."""
    first, _ = new_sequence(LAYERS, kind)
    forward([(first, 1)], Text(1).qkv)
    first.release()
    return first.empty_copy()


class Module:
    num_key_value_groups = GROUP

    def __init__(self, layer_idx: int) -> None:
        self.layer_idx = layer_idx


def forward(pack: Pack, qkv: torch.Tensor) -> torch.Tensor:
    """What a model's forward does with its attention: answers [layers, m, heads * size]."""
    starts = [sequence.length for sequence, _ in pack]
    places = torch.cat([torch.arange(a, a + n) for a, (_, n) in zip(starts, pack, strict=True)])
    cos, sin = angles(places)
    answers = []
    for layer in range(LAYERS):
        query, key, value = qkv[layer].view(-1, HEADS * (GROUP + 2), SIZE).split([HEADS * GROUP, HEADS, HEADS], 1)
        turned = [_turn(part, cos, sin).transpose(0, 1)[None] for part in (query, key)]
        module: Any = Module(layer)
        found, _ = packed_attention(module, *turned, value.transpose(0, 1)[None], None, SIZE**-0.5, pack)
        answers.append(found[0].flatten(1))
    return torch.stack(answers)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos[:, None] + torch.cat([-x[..., half:], x[..., :half]], -1) * sin[:, None]


def step(slots: Slots, pack: Pack, qkv: torch.Tensor) -> torch.Tensor:
    """The same on the fast path; `qkv` without padding."""
    padded = torch.cat([qkv, torch.full((LAYERS, slots.most - qkv.shape[1], qkv.shape[2]), float("nan")).bfloat16()], 1)
    slots.fill(pack)
    cos, sin = angles(slots.positions)
    answers = []
    for layer in range(LAYERS):
        query = step_ops.rotate_and_append(padded[layer], cos, sin, slots, layer)
        answers.append(step_ops.attend(query, slots, layer, SIZE**-0.5)[: qkv.shape[1]])
    slots.advance()
    return torch.stack(answers)


def state(sequence: Sequence) -> list[Any]:
    """Everything that later forwards can read from a sequence."""
    found: list[Any] = [sequence.length, sequence.cut(sequence.length), sequence.empty_copy().length]
    whole = sequence.length // BLOCK
    found += [sequence.copy_out(block) for block in range(whole)]
    for layer in sequence.layers:
        found += [t.clone() for t in layer.visible(0)]
        found += [layer.longest_cut(length) for length in range(max(0, sequence.length - 2 * BLOCK), sequence.length)]
    return found


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else bool(x == y) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("counts", [[1] * 70, [3, 8, 1, 4, 16, 16, 16, 1, 15, 16, 16, 16, 16, 5]])
def test_steps_leave_the_same_state_as_forwards(kind: str, counts: list[int]) -> None:
    plain, fast, slots = empty(kind), empty(kind), Slots(LAYERS, 16, kind, "cpu")
    text, at = Text(30 + sum(counts)), 30
    for sequence in (plain, fast):
        forward([(sequence, 30)], text.qkv[:, :30])
    for count in counts:
        new = text.qkv[:, at : at + count]
        expected = forward([(plain, count)], new)
        assert Slots.fits([(fast, count)]) == (kind == "bf16" or at % BLOCK + count <= BLOCK)
        if Slots.fits([(fast, count)]):
            assert torch.equal(step(slots, [(fast, count)], new), expected)
        else:
            forward([(fast, count)], new)
        at += count
    assert same(state(plain), state(fast))


def test_an_unused_sequence_does_not_fit(kind: str) -> None:
    sequence, _ = new_sequence(LAYERS, kind)
    assert not Slots.fits([(sequence, 1)])
    assert Slots.fits([(empty(kind), 1)])


def test_two_sequences_and_padding_do_not_mix(kind: str) -> None:
    """Padding is not a number here; each sequence is as if it were alone."""
    slots = Slots(LAYERS, 8, kind, "cpu")
    texts = Text(200, 1), Text(60, 2)
    plain, fast = [empty(kind) for _ in texts], [empty(kind) for _ in texts]
    for group in (plain, fast):
        for sequence, text, held in zip(group, texts, (190, 41), strict=True):
            forward([(sequence, held)], text.qkv[:, :held])
    at = [190, 41]
    for counts in ((1, 1), (1, 4), (0, 1), (2, 0)):
        pairs = [(n, count) for n, count in enumerate(counts) if count]
        new = [texts[n].qkv[:, at[n] : at[n] + count] for n, count in pairs]
        expected = torch.cat(
            [forward([(plain[n], count)], part) for (n, count), part in zip(pairs, new, strict=True)], 1
        )
        found = step(slots, [(fast[n], count) for n, count in pairs], torch.cat(new, 1))
        assert torch.equal(found, expected)
        at = [a + count for a, count in zip(at, counts, strict=True)]
    for ours, theirs in zip(fast, plain, strict=True):
        assert same(state(ours), state(theirs))


@pytest.mark.parametrize("length", [40, 60, 61, 127])
def test_a_rejected_draft_leaves_no_trace(kind: str, length: int) -> None:
    """Also where the draft's end made a block whole: it is packed anew from what took the draft's place."""
    text, other, slots = Text(length + 140), Text(8, 5), Slots(LAYERS, 4, kind, "cpu")
    plain, fast = empty(kind), empty(kind)
    for sequence in (plain, fast):
        forward([(sequence, length)], text.qkv[:, :length])
    draft = min(4, BLOCK - length % BLOCK)
    step(slots, [(fast, draft)], other.qkv[:, :draft])
    assert fast.cut(length) == length
    for at in range(length, length + 140):
        new = text.qkv[:, at : at + 1]
        assert torch.equal(step(slots, [(fast, 1)], new), forward([(plain, 1)], new))
    assert same(state(plain), state(fast))


def test_blocks_written_by_steps_are_restored_elsewhere(kind: str) -> None:
    text, slots, fast = Text(150), Slots(LAYERS, 1, kind, "cpu"), empty(kind)
    for at in range(130):
        step(slots, [(fast, 1)], text.qkv[:, at : at + 1])
    other = fast.empty_copy()
    for block in range(2):
        other.copy_in(fast.copy_out(block))
    for at in (128, 129):
        step(slots, [(other, 1)], text.qkv[:, at : at + 1])
    assert [torch.equal(fast.copy_out(n), other.copy_out(n)) for n in range(2)] == [True, True]
    new = text.qkv[:, 130:131]
    assert torch.equal(step(slots, [(fast, 1)], new), step(slots, [(other, 1)], new))


def test_buffers_grow_between_steps_and_addresses_are_updated(kind: str) -> None:
    """Across 512 tokens, where every buffer is made anew; what the device reads stays where it is."""
    text, slots = Text(530), Slots(LAYERS, 2, kind, "cpu")
    plain, fast = empty(kind), empty(kind)
    for sequence in (plain, fast):
        forward([(sequence, 500)], text.qkv[:, :500])
    told: list[torch.Tensor] = [slots.positions, slots.firsts, slots.counts, slots.addresses]
    stays = [t.data_ptr() for t in told]
    seen = set()
    for at in range(500, 530):
        new = text.qkv[:, at : at + 1]
        assert torch.equal(step(slots, [(fast, 1)], new), forward([(plain, 1)], new))
        assert (
            slots.positions.tolist() == [at, 0] and slots.firsts.tolist() == [0, 1] and slots.counts.tolist() == [1, 1]
        )
        seen.add(tuple(slots.addresses[0, [0, 3], 0].tolist()))
    assert len(seen) > 1 and stays == [t.data_ptr() for t in told]
    assert same(state(plain), state(fast))


def test_an_address_is_where_the_next_token_is_written(kind: str) -> None:
    """What kernels take addresses for: number by number, read through them."""
    text, slots, fast = Text(72), Slots(LAYERS, 1, kind, "cpu"), empty(kind)
    forward([(fast, 70)], text.qkv[:, :70])
    pack = [(fast, 1)]
    step(slots, pack, text.qkv[:, 70:71])
    at = fast.layers[1].address()
    keys, values = (t[0, 2, 70] for t in fast.layers[1].visible(0))
    token = 70 if kind == "bf16" else 70 % BLOCK
    for start, expected in ((at.keys, keys), (at.values, values)):
        address = start + 2 * (2 * at.stride + token * SIZE)
        found = torch.frombuffer((ctypes.c_char * (2 * SIZE)).from_address(address), dtype=torch.bfloat16)
        assert torch.equal(found, expected)
    if kind != "bf16":
        packed = fast.copy_out(0).view(LAYERS, -1)[1]
        found = torch.frombuffer((ctypes.c_char * packed.numel()).from_address(at.blocks), dtype=torch.uint8)
        assert torch.equal(found, packed)
