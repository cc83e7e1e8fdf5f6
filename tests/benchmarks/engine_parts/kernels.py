"""Kernels for 1 to 16 rows: ours and bitsandbytes', their share of a copy's bandwidth, and their errors."""

from __future__ import annotations

import math
from typing import Any

import bitsandbytes as bnb
import torch
from jupyter_mistral.engine.fast import nf4, ops
from jupyter_mistral.engine.fast.step import Int8
from jupyter_mistral.models.memory import NF4_BYTES

from . import weights
from .ceilings import copied
from .decoding import decode_mode
from .sections import Plan, Report
from .shapes import LAYER
from .timing import recorded, seconds

ROWS = (1, 2, 4, 8, 16)
_BEYOND_CACHE = 4e8  # bytes to read before the same weights are read again
_SLICE = 4096


def measure(plan: Plan, tell: Report) -> None:
    top = copied(plan)
    chosen = ops.triton() if decode_mode(plan) == "triton" else ops.Reference()
    sums = {m: [0.0, 0.0, 0.0] for m in ROWS}
    for name, (rows, columns) in plan.shape.matrices.items():
        size = rows * columns * NF4_BYTES
        layers = [weights.linear(rows, columns, plan.device) for _ in range(_copies(plan, size))]
        for m in ROWS:
            x = torch.randn(m, columns, dtype=torch.bfloat16, device=plan.device)
            calls = {"ours": _ours(chosen.linear, x, layers), "bitsandbytes": _theirs(x, layers)}
            found = {whose: _timed(plan, call, len(layers)) for whose, call in calls.items()}
            known = _exact(x, layers[0])
            told = _told(found, size, top) | {f"{whose}, error": _error(call, known) for whose, call in calls.items()}
            tell(f"{name} {rows} x {columns}, {m} rows", told)
            sums[m] = [a + b for a, b in zip(sums[m], (size, *found.values()), strict=True)]
        del layers, calls
    for m, (size, own, their) in sums.items():
        tell(f"{LAYER}, {m} rows", _told({"ours": own, "bitsandbytes": their}, size, top))


def head(plan: Plan, tell: Report) -> None:
    """The output layer in int8, which bitsandbytes does not have, against torch's in bf16."""
    top, rows, columns = copied(plan), plan.shape.vocabulary, plan.shape.hidden
    chosen = ops.triton() if decode_mode(plan) == "triton" else ops.Reference()
    full = torch.randn(rows, columns, dtype=torch.bfloat16, device=plan.device) / math.sqrt(columns)
    small = Int8.of(full)
    for m in ROWS:
        x = torch.randn(m, columns, dtype=torch.bfloat16, device=plan.device)
        calls = {
            "int8": lambda: [chosen.int8(x, small.weight, small.scales)],  # noqa: B023  # called at once
            "bf16": lambda: [torch.nn.functional.linear(x, full)],  # noqa: B023
        }
        found = {whose: _timed(plan, call, 1) for whose, call in calls.items()}
        known = x.double() @ (small.weight.double() * small.scales.double()[:, None]).T
        share = {"int8, of copy": round(rows * columns / found["int8"] / top, 3)}
        share["bf16, of copy"] = round(2 * rows * columns / found["bf16"] / top, 3)
        times = {f"{whose}, µs": round(1e6 * taken, 2) for whose, taken in found.items()}
        tell(f"{rows} x {columns}, {m} rows", times | share | {"int8, error": _error(calls["int8"], known)})


def _copies(plan: Plan, size: float) -> int:
    return max(1, min(40, int(_BEYOND_CACHE / size))) if plan.device == "cuda" else 1


@torch.inference_mode()
def _timed(plan: Plan, call: Any, copies: int) -> float:
    return seconds(recorded(call, plan.device), plan.device) / copies


@torch.inference_mode()
def _error(call: Any, known: torch.Tensor) -> float:
    """Of |found - known| / |known|."""
    return float(f"{float((call()[0].double() - known).norm() / known.norm()):.1e}")


def _told(found: dict[str, float], size: float, top: float) -> dict[str, float]:
    times = {f"{whose}, µs": round(1e6 * taken, 2) for whose, taken in found.items()}
    return times | {f"{whose}, of copy": round(size / taken / top, 3) for whose, taken in found.items()}


def _ours(linear: Any, x: torch.Tensor, layers: list[Any]) -> Any:
    parts = [nf4.of(layer) for layer in layers]
    return lambda: [linear(x, part, None) for part in parts]


def _theirs(x: torch.Tensor, layers: list[Any]) -> Any:
    return lambda: [bnb.matmul_4bit(x, layer.weight, quant_state=layer.weight.quant_state) for layer in layers]


def _exact(x: torch.Tensor, layer: Any) -> torch.Tensor:
    """In 64 bit."""
    weight = nf4.of(layer)
    parts = range(0, weight.rows, _SLICE)
    return torch.cat([x.double() @ nf4.dequantize(weight, slice(at, at + _SLICE)).double().T for at in parts], 1)
