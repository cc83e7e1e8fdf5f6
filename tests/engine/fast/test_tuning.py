"""Tiles of 4-bit matrices are chosen by timing, once for each shape; a timing that fails costs nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import tiny_plain
import torch
from fast_paths import fast_of
from jupyter_mistral.engine.fast import choose
from jupyter_mistral.engine.fast.choose import fast_path
from jupyter_mistral.engine.fast.nf4 import Nested, Nf4
from jupyter_mistral.engine.fast.nf4_plan import Plan
from jupyter_mistral.engine.fast.ops import Reference
from jupyter_mistral.engine.fast.step import FastModel
from jupyter_mistral.engine.fast.tuning import tuned


@pytest.fixture
def model() -> Any:
    return tiny_plain.build("llama")


class Tuning:
    """Stands for the timing on a GPU. Notes what it is given, and that no product had been made by then."""

    def __init__(self, fails_at: int = 0) -> None:
        self.given: list[tuple[Nf4, list[Nf4], float]] = []
        self.products, self.products_before, self._fails_at = 0, -1, fails_at

    def __call__(self, weight: Nf4, others: Sequence[Nf4], until: float) -> Plan:
        self.given.append((weight, list(others), until))
        self.products_before = self.products
        if len(self.given) == self._fails_at:
            raise RuntimeError("-".join(["no", "such", "cut"]))
        return Plan(splits=len(self.given))

    def counting(self) -> type[Reference]:
        class Counting(Reference):
            @staticmethod
            def linear(*given: Any) -> torch.Tensor:
                self.products += 1
                return Reference.linear(*given)

        return Counting


def test_plans_are_chosen_once_per_shape_before_the_first_step(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Queries, keys and values are one matrix, and so are gate and up; the others of a shape are the other layers'."""
    tuning, begin = Tuning(), time.monotonic()
    monkeypatch.setattr(choose.ops, "Reference", tuning.counting())
    fast, reason = fast_path(model, "bf16", "reference", tuning)
    assert fast is not None and not reason and fast._model is not None
    parts = [(layer.gate_up, layer.qkv, layer.down, layer.out) for layer in fast._model.layers]
    expected = [[linear.matrices[0] for linear in alike] for alike in zip(*parts, strict=True)]
    given = [[weight, *others] for weight, others, _ in tuning.given]
    assert [(alike[0].rows, alike[0].columns) for alike in given] == [(384, 128), (256, 128), (128, 192), (128, 128)]
    assert [[id(weight) for weight in alike] for alike in given] == [
        [id(weight) for weight in alike] for alike in expected
    ]
    assert tuning.products_before == 0 < tuning.products, "the check at load is of what was chosen"
    untils = [until - begin for _, _, until in tuning.given]
    assert untils == sorted(untils) and 0.5 <= untils[0] < 1.5 < untils[-1] < 2.5, "two seconds, shared"
    told = capfd.readouterr().err
    assert "engine: 384 x 128 in 4 bit: Plan(halves=2, groups=2, splits=1, stages=4)" in told and "128 x 192" in told


def test_nested_and_plain_scales_and_a_4_bit_head_are_separate_shapes(model: Any) -> None:
    plain = tiny_plain.build("llama", is_nested=False)
    model.model.layers[1] = plain.model.layers[1]
    model.lm_head = plain.model.layers[2].mlp.gate_proj
    tuning = Tuning()
    fast_of(model).tune(tuning)
    counts = [(w.rows, w.columns, isinstance(w.scales, Nested), len(others)) for w, others, _ in tuning.given]
    assert sorted(counts) == [
        *((128, 128, False, 0), (128, 128, True, 1), (128, 192, False, 0), (128, 192, True, 1)),
        *((192, 128, False, 0), (256, 128, False, 0), (256, 128, True, 1), (384, 128, False, 0), (384, 128, True, 1)),
    ]


def test_a_failed_timing_keeps_the_rules_plans_and_the_fast_path(model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tuning = Tuning(fails_at=2)
    fast, reason = fast_path(model, "bf16", "reference", tuning)
    assert fast is not None and fast.is_on and not reason and len(tuning.given) == 2
    told = capfd.readouterr().err
    assert "engine: tiles by rule: RuntimeError" in told and "384 x 128" in told and "no-such-cut" not in told


def test_no_shape_is_started_after_the_deadline(model: Any) -> None:
    tuning = Tuning()
    assert list(tuned(FastModel(model, Reference()).matrices, tuning, seconds=0.0)) == [] == tuning.given


def test_plans_are_timed_only_where_kernels_are_compiled() -> None:
    pytest.importorskip("triton")
    from jupyter_mistral.engine.fast import nf4_triton

    assert choose.ops.tuner(torch.device("cuda", 0)) is nf4_triton.tune
    assert choose.ops.tuner(torch.device("cpu")) is None
