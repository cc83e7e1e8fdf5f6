"""Run by `test_interpreted.py` under Triton's interpreter: the kernels of 4-bit matrices equal their reference."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from effort import IS_ALL, first
from jupyter_mistral.engine.fast import nf4, nf4_triton
from jupyter_mistral.engine.fast.nf4_plan import Plan, plan

sys.path.insert(0, str(Path(__file__).parents[2]))

from four_bit import layer

ROUNDING = 1.01 * 2**-8  # to the nearest bfloat16, at most, relative to the number
TOKENS = (1, 2, 3, 8, 16) if IS_ALL else (1, 3)
# Root mean square of the difference over that of the result: 0.001 to 0.003 with many rows, more where few large ones
# decide; at worst each number is the next one of bfloat16.
ERROR = 2**-7


@pytest.fixture(autouse=True)
def _steady() -> None:
    torch.manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape).bfloat16()


def promised(x: torch.Tensor, weight: nf4.Nf4, bias: torch.Tensor | None) -> torch.Tensor:
    """With the kernel's own table, in 64 bit."""
    rounded = replace(weight, table=nf4_triton.VALUES.float() / nf4_triton.STRETCH)
    found = x.double() @ nf4.dequantize(rounded).double().T
    return found if bias is None else found + bias.double()


def check(weight: nf4.Nf4, bias: torch.Tensor | None, counts: tuple[int, ...] = TOKENS) -> None:
    for m in counts:
        x = random(m, weight.columns)
        found, exact = nf4_triton.linear(x, weight, bias).double(), promised(x, weight, bias)
        reference = nf4.linear(x, weight, bias).double()
        assert float((found - reference).norm() / reference.norm()) < ERROR
        assert bool(((found - exact).abs() <= ROUNDING * exact.abs() + 1e-5 * exact.abs().max()).all())


@pytest.mark.parametrize(("is_nested", "is_biased"), first(1, [(True, False), (False, True)]))
def test_rows_and_columns_need_not_fill_tiles(is_nested: bool, is_biased: bool) -> None:
    weight = nf4.of(layer(75, 192, is_nested))
    check(weight, random(75) if is_biased else None)


@pytest.mark.slow
@pytest.mark.parametrize("is_nested", [False, True])
def test_columns_are_shared_among_programs(is_nested: bool) -> None:
    for columns in (1024, 1088):  # the second in turns that do not come out even
        weight = nf4.of(layer(40, columns, is_nested))
        assert plan(40, columns).splits == 2
        check(weight, random(40), (1, 16))


@pytest.mark.parametrize("columns", first(1, [192, 128]))
def test_joined_layers_keep_their_own_scales(columns: int) -> None:
    # none has a whole number of the blocks in which scales share a scale
    check(nf4.fuse([layer(rows, columns, True, rows) for rows in (40, 24, 33)]), None, (3,))


@pytest.mark.slow
def test_every_plan_gives_the_same_result() -> None:
    weight, x = nf4.of(layer(100, 512, True)), random(2, 512)
    exact = promised(x, weight, None)
    for halves, groups, splits in ((1, 2, 4), (4, 4, 1), (2, 4, 2), (1, 4, 16)):
        found = nf4_triton._linear(x, weight, None, Plan(halves, groups, splits)).double()
        assert bool(((found - exact).abs() <= ROUNDING * exact.abs() + 1e-5 * exact.abs().max()).all())


def test_counters_of_shared_rows_are_reset_in_each_call() -> None:
    weight, x = nf4.of(layer(40, 1024, False)), random(1, 1024)
    first = nf4_triton.linear(x, weight)
    assert torch.equal(nf4_triton.linear(x, weight), first)
    assert not bool(nf4_triton._arrived(x.device).any())


@pytest.mark.parametrize(("rows", "columns"), first(1, [(70, 200), (64, 256)]))
def test_a_head_in_8_bit(rows: int, columns: int) -> None:
    weights = torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
    scales = torch.rand(rows).bfloat16() / 127
    for m in TOKENS:
        x = random(m, columns)
        exact = x.double() @ weights.double().T * scales.double()
        found = nf4_triton.int8_head(x, weights, scales).double()
        assert found.shape == (m, rows)
        assert bool(((found - exact).abs() <= ROUNDING * exact.abs() + 1e-5 * exact.abs().max()).all())
