"""Mixture-of-experts layers in 4 bit. transformers fuses a layer's experts into one tensor, which bitsandbytes cannot quantize.

Here each expert's two matrices are quantized separately, written to a file of their own, and replace the fused tensors at
load. The fused tensors are never allocated: the model is built with experts of width one, which are then dropped.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.autograd._functions import matmul_4bit
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from bitsandbytes.nn.modules import Params4bit
from safetensors import safe_open
from torch.nn import functional

from ..decode import float32_linear
from .folder import Report, ShardWriter

FILE = "experts.safetensors"
# the setting for an expert's width, by architecture
_WIDTH = {"mixtral": "intermediate_size", "qwen3_moe": "moe_intermediate_size"}
_NAME = re.compile(r"(.*layers\.\d+)\.\w+\.experts\.(\d+)\.(w1|w2|w3|gate_proj|up_proj|down_proj)\.weight")
_ROLE = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
_STATE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4")


def has_experts(config: Any) -> bool:
    return config.model_type in _WIDTH


def with_narrow_experts(config: Any) -> Any:
    """A copy of the configuration with experts of width one, which need no memory."""
    config = copy.deepcopy(config)
    setattr(config, _WIDTH[config.model_type], 1)
    return config


class Experts(torch.nn.Module):
    """One layer's experts; replaces transformers' module, with the same forward."""

    def __init__(self, activation: Any, gate_up: list[Any], down: list[Any]) -> None:
        super().__init__()
        self._activation = activation
        self.gate_up, self.down = torch.nn.ParameterList(gate_up), torch.nn.ParameterList(down)

    def forward(self, states: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """states [tokens, size]; chosen and weights [tokens, experts per token]."""
        output = torch.zeros_like(states)
        for number in sorted(set(chosen.flatten().tolist())):
            token, rank = torch.where(chosen == number)
            gate, up = _linear(states[token], self.gate_up[number]).chunk(2, dim=-1)
            result = _linear(self._activation(gate) * up, self.down[number])
            output.index_add_(0, token, (result * weights[token, rank, None]).to(output.dtype))
        return output


def _linear(states: torch.Tensor, packed: Any) -> torch.Tensor:
    if states.device.type == "cpu" and not float32_linear.install():
        # unpacked, so that the bits do not depend on the number of tokens
        return functional.linear(states, dequantize_4bit(packed, packed.quant_state).to(states.dtype))
    output: torch.Tensor = matmul_4bit(states, packed.t(), quant_state=packed.quant_state)
    return output


# ---------------------------------------------------------------------------------------------- writing


def quantize_experts(source: Path, folder: Path, report: Report) -> None:
    """Write `FILE`, one expert in memory at a time."""
    experts: dict[tuple[str, int], dict[str, tuple[Path, str]]] = {}
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a mapping
                if match := _NAME.fullmatch(name):
                    experts.setdefault((match[1], int(match[2])), {})[_ROLE[match[3]]] = path, name
    shard, begin = ShardWriter(folder / FILE, names=2 * 6 * len(experts) + 1), time.monotonic()
    for done, ((layer, number), parts) in enumerate(sorted(experts.items()), 1):
        weights = {role: _tensor(*parts[role]) for role in ("gate", "up", "down")}
        for role, weight in (("gate_up", torch.cat([weights["gate"], weights["up"]])), ("down", weights["down"])):
            packed, state = quantize_4bit(
                weight.to(torch.bfloat16), blocksize=64, compress_statistics=True, quant_type="nf4"
            )
            shard.add(f"{layer}.{number}.{role}", packed)
            for key, value in state.as_dict(packed=True).items():
                shard.add(f"{layer}.{number}.{role}.{key}", value)
        left = (time.monotonic() - begin) / done * (len(experts) - done)
        report("quantize", 0.7 * done / len(experts), f"{done} of {len(experts)} experts", left)
    shard.close()


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def remove_experts(model: Any) -> None:
    """Remove the experts of width one before the rest of the model is saved."""
    for _, block in _blocks(model):
        block.experts = torch.nn.Identity()


# ---------------------------------------------------------------------------------------------- reading


def insert_experts(model: Any, config: Any, folder: Path, device: str) -> None:
    """Give a model built `with_narrow_experts` the experts of `folder` and the real `config`."""
    with safe_open(folder / FILE, "pt") as file:
        for layer, block in _blocks(model):
            count = len(block.experts.gate_up_proj)
            pairs = [
                [_packed(file, f"{layer}.{n}.{role}", device) for n in range(count)] for role in ("gate_up", "down")
            ]
            block.experts = Experts(block.experts.act_fn, *pairs)
    name = _WIDTH[config.model_type]
    setattr(model.config, name, getattr(config, name))


def _packed(file: Any, name: str, device: str) -> Any:
    state = {key: file.get_tensor(f"{name}.{key}") for key in _STATE}
    return Params4bit.from_prequantized(file.get_tensor(name), state, requires_grad=False, device=torch.device(device))


def _blocks(model: Any) -> Iterator[tuple[str, Any]]:
    """Each layer's name in the checkpoint, and the module with its experts."""
    for number, layer in enumerate(model.model.layers):
        if hasattr(layer.mlp, "experts"):
            yield f"model.layers.{number}", layer.mlp
