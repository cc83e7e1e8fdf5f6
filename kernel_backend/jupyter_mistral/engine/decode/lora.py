"""A linear layer with LoRA adapters, of which one at most is in use. `load/adapters.py` reads them from files."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

LoraPair = tuple[torch.Tensor, torch.Tensor, float]  # A, B and the scale


class LoraLayer(torch.nn.Module):
    """Wraps a linear layer and adds scale * (x A^T) B^T of the adapter in use."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.pairs: dict[str, LoraPair] = {}
        self.used: str = ""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(states)
        pair = self.pairs.get(self.used)
        if pair is None:
            return output
        down, up, scale = pair
        return output + functional.linear(functional.linear(states.to(down.dtype), down), up).to(output.dtype) * scale

    @property
    def weight(self) -> Any:
        return self.layer.weight
