"""Steps that write keys and values in place leave the sequences as forwards do, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jupyter_mistral.engine.attention import Pack, packed_attention
from jupyter_mistral.engine.fast import small
from jupyter_mistral.engine.fast.slots import Slots
from jupyter_mistral.engine.kv import BLOCK, Sequence
from jupyter_mistral.engine.packed import new_sequence
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
    """As a decoder's warm-up leaves it."""
    first, _ = new_sequence(LAYERS, kind)
    forward([(first, 1)], Text(1).qkv)
    first.release()
    return first.twin()


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
        query = small.rotate_and_append(padded[layer], cos, sin, slots, layer)
        answers.append(small.attend(query, slots, layer, SIZE**-0.5)[: qkv.shape[1]])
    slots.advance()
    return torch.stack(answers)


def state(sequence: Sequence) -> list[Any]:
    """All that later forwards can tell of a sequence."""
    found: list[Any] = [sequence.length, sequence.cut(sequence.length), sequence.twin().length]
    whole = sequence.length // BLOCK
    found += [sequence.copy_out(block) for block in range(whole)]
    for layer in sequence.rows:
        found += [t.clone() for t in layer.seen(0)]
        found += [layer.cuttable(length) for length in range(max(0, sequence.length - 2 * BLOCK), sequence.length)]
    return found


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else bool(x == y) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("counts", [[1] * 70, [3, 8, 1, 4, 16, 16, 16, 1, 15, 16, 16, 16, 16, 5]])
def test_steps_leave_what_forwards_leave(kind: str, counts: list[int]) -> None:
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
