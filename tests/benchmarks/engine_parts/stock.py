"""bitsandbytes' own kernel in our steps, to separate the effect of graphs from that of our kernels."""

from __future__ import annotations

from typing import Any

import bitsandbytes as bnb
import torch
from jupyter_mistral.engine.fast.nf4 import Nf4


class Stock:
    """Our `Ops`, but with their kernel for 4-bit weights; matrices that we join are separate layers there."""

    def __init__(self, others: Any, model: Any) -> None:
        self._others = others
        self._layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
        self._parts: dict[int, list[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._others, name)

    def linear(self, x: torch.Tensor, weight: Nf4, bias: torch.Tensor | None) -> torch.Tensor:
        assert bias is None, "the models that are measured have none"
        start = weight.packed.data_ptr()
        if start not in self._parts:
            end = start + weight.packed.nbytes
            inside = [layer for layer in self._layers if start <= layer.weight.data_ptr() < end]
            self._parts[start] = sorted(inside, key=lambda layer: int(layer.weight.data_ptr()))
        parts = self._parts[start]
        found = [bnb.matmul_4bit(x, part.weight, quant_state=part.weight.quant_state) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found, 1)
