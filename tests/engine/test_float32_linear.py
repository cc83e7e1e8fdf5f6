"""Products in 32 bit: like bitsandbytes', but more exact, and with the same bits for a row whatever the other rows."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from four_bit import layer
from jupyter_mistral.engine.decode import float32_linear

COUNTS = (1, 2, 3, 4, 5, 7, 9, 16, 17, 31, 63, 64, 65, 129, 256)


def arguments(is_nested: bool, is_biased: bool = False, rows: int = 320, columns: int = 192) -> tuple[Any, Any, Any]:
    """The unpacked weight in 64 bit, and what the operator is called with after the states."""
    made = layer(rows, columns, is_nested, is_biased=is_biased)
    state = made.weight.quant_state
    more = {"bias": made.bias}
    scales = state.absmax
    if state.nested:
        scales = state.state2.absmax
        more |= {"absmax_8bit": state.absmax, "absmax_code": state.state2.code, "absmax_offset": state.offset}
    true = dequantize_4bit(made.weight.data, state).double()
    return true, (made.weight.data, state.shape, scales, state.blocksize, state.quant_type), more


@pytest.mark.parametrize("is_biased", [False, True])
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_product_is_the_exact_one_rounded_once(is_nested: bool, is_biased: bool) -> None:
    weight, given, more = arguments(is_nested, is_biased)
    states = torch.randn(3, 7, 192, generator=torch.manual_seed(1)).bfloat16()
    want = states.double() @ weight.T + (0 if more["bias"] is None else more["bias"].double())
    found = float32_linear.four_bit(states, *given, **more)
    assert found.dtype == torch.bfloat16
    assert found.shape == (3, 7, 320)
    # bitsandbytes unpacks to bfloat16 where `weight` is from, so a weight's own rounding, 2^-9 of it, is between the two
    bound = 2**-8 * want.abs() + 2**-9 * (states.double().abs() @ weight.abs().T) + 1e-6
    assert bool(((found - want).abs() <= bound).all())


@pytest.mark.parametrize(("rows", "columns"), [(320, 192), (192, 320), (4864, 896), (896, 4864), (128, 896)])
def test_the_bits_of_a_row_do_not_depend_on_other_rows(rows: int, columns: int) -> None:
    _, given, more = arguments(True, False, rows, columns)
    states = torch.randn(300, columns, generator=torch.manual_seed(2)).bfloat16()
    full = float32_linear.four_bit(states, *given, **more)
    for count in COUNTS:
        assert torch.equal(float32_linear.four_bit(states[:count], *given, **more), full[:count]), count
    assert float32_linear.four_bit(states[:0], *given, **more).shape == (0, rows)


def test_without_padding_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would prove nothing; a processor whose sums never differ needs no padding."""
    if not float32_linear.is_faster():
        pytest.skip("this processor multiplies bfloat16 by itself, and is not filled up for")
    monkeypatch.setattr(float32_linear, "ROW_GROUP", 1)
    with pytest.raises(AssertionError):
        for rows, columns in ((4864, 896), (896, 4864)):
            test_the_bits_of_a_row_do_not_depend_on_other_rows(rows, columns)


def test_bitsandbytes_layers_use_it_where_it_is_faster() -> None:
    made = layer(320, 192, True)
    states = torch.randn(5, 192, generator=torch.manual_seed(3)).bfloat16()
    _, given, more = arguments(True)
    with torch.inference_mode():
        found = bnb.matmul_4bit(states, made.weight, quant_state=made.weight.quant_state)
    assert float32_linear.install() == float32_linear.is_faster()
    if float32_linear.is_faster():
        assert torch.equal(found, float32_linear.four_bit(states, *given, **more))


def test_bitsandbytes_own_kernel_is_kept() -> None:
    code = (
        "import torch, bitsandbytes; from jupyter_mistral.engine.decode import float32_linear; float32_linear.is_faster = lambda: True;"
        "torch.library.register_kernel(float32_linear.OP, 'cpu', lambda *a, **k: None); print(float32_linear.install())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "False", found.stderr


def test_only_the_vision_layers_are_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32_linear, "is_faster", lambda: True)
    model = torch.nn.ModuleDict(
        {name: torch.nn.Linear(64, 48, dtype=torch.bfloat16) for name in ("vision_tower", "lm_head")}
    )
    states = torch.randn(2, 5, 64, generator=torch.manual_seed(4)).bfloat16()
    eye = model["vision_tower"]
    want = states.double() @ eye.weight.double().T + eye.bias.double()
    float32_linear.widen(model)
    assert type(model["lm_head"]) is torch.nn.Linear
    assert isinstance(eye, float32_linear.WideLinear)
    found = eye(states)
    assert torch.equal(found, want.float().to(torch.bfloat16)), "rounded once"
