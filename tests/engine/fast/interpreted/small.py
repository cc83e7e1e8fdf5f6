"""Run by `test_interpreted.py` under Triton's interpreter: the small kernels equal their references."""

from __future__ import annotations

import pytest
import torch
from effort import first
from jupyter_mistral.engine.fast import step_ops, step_ops_triton
from jupyter_mistral.engine.fast.slots import Slots
from jupyter_mistral.engine.kv.packed import new_sequence
from jupyter_mistral.engine.kv.sequence import Sequence

ULP = 2**-8  # between two neighbouring numbers of bfloat16, relative to the larger power of two


@pytest.fixture(autouse=True)
def _steady() -> None:
    torch.manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape).bfloat16()


def differing(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The share of numbers that are not the same; none may be further than to the next one."""
    found, expected = found.float(), expected.float()
    assert bool(((found - expected).abs() <= ULP * expected.abs()).all())
    return float((found != expected).float().mean())


@pytest.mark.parametrize("columns", first(1, [576, 896, 5120]))
def test_norms_equal_the_references(columns: int) -> None:
    x, delta, weight = random(2, columns), random(2, columns), random(columns)
    # the same sum in another order: now and then the last bit
    assert differing(step_ops_triton.rms_norm(x, weight, 1e-5), step_ops.rms_norm(x, weight, 1e-5)) < 0.01
    (added, normed), (expected, other) = (of.add_rms_norm(x, delta, weight, 1e-5) for of in (step_ops_triton, step_ops))
    assert torch.equal(added, expected) and differing(normed, other) < 0.01


@pytest.mark.parametrize("columns", first(1, [1536, 9000]))
def test_silu_mul_equals_the_reference(columns: int) -> None:
    gate_up = 4 * random(2, 2 * columns)
    assert differing(step_ops_triton.silu_mul(gate_up), step_ops.silu_mul(gate_up)) < 0.01


def sequences(kind: str, heads: int, size: int, lengths: list[int]) -> list[Sequence]:
    found = []
    for length in lengths:
        sequence, _ = new_sequence(2, kind)
        for layer in sequence.layers:
            list(layer.append_tokens(random(1, heads, length, size), random(1, heads, length, size)))
        found.append(sequence)
    return found


@pytest.mark.parametrize(
    ("kind", "size", "is_normed"),
    first(
        2,
        [
            ("bf16", 80, True),
            ("int4", 128, False),
            ("bf16", 64, False),
            ("bf16", 128, False),
            ("int8", 128, False),
            ("int8", 64, True),
        ],
    ),
)
def test_appending_equals_the_reference(kind: str, size: int, is_normed: bool) -> None:
    """With padding, of two sequences, from the middle and from the start of a block; bits are equal, but for a norm's."""
    kv_heads, heads, most = 2, 2, 4
    qkv = random(most, (heads + 2 * kv_heads) * size)
    norms = (random(size), random(size), 0.3) if is_normed else None  # an eps that counts
    found = []
    for of in (step_ops, step_ops_triton):
        torch.manual_seed(1)
        pack = list(zip(sequences(kind, kv_heads, size, [37, 64]), [2, 1], strict=True))
        slots = Slots(2, most, kind, "cpu")
        slots.fill(pack)
        angles = slots.positions[:, None] * torch.linspace(1, 0.01, size // 2)
        cos, sin = (torch.cat([part, part], 1).bfloat16() for part in (angles.cos(), angles.sin()))
        query = of.rotate_and_append(qkv, cos, sin, slots, 1, norms)
        slots.advance()
        held = [t for sequence, _ in pack for layer in sequence.layers for t in layer.visible(0)]
        found.append([query, *(t.clone() for t in held)])
    assert not torch.equal(found[0][3][:, :, 37:], torch.zeros_like(found[0][3][:, :, 37:]))
    for ours, expected in zip(found[1], found[0], strict=True):
        if is_normed:
            assert torch.allclose(ours.float(), expected.float(), atol=0.03, rtol=2 * ULP)
        else:
            assert torch.equal(ours, expected)
