"""LoRA adapters in peft's format on a model in 4 bit: loaded, switched and unloaded while it runs.

Not by peft itself, because it moves each layer when it adds one, and bitsandbytes then unpacks a CPU layer's weights with a loss.
Here the layers stay as they are and something is added to what they give.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.nn import functional

from ...models import store
from ...protocol.failures import Failure
from ..decode.decoder import Decoder
from . import memory

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# settings that change what is computed, and the values with which they do not
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "use_dora": (False, None),
    "modules_to_save": ([], None),
    "alpha_pattern": ({}, None),
    "rank_pattern": ({}, None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
}
_PREFIX = "base_model.model."

Pair = tuple[torch.Tensor, torch.Tensor, float]


class Adapted(torch.nn.Module):
    """A linear layer and what adapters add to it: scale * (x A^T) B^T of the one in use."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.pairs: dict[str, Pair] = {}
        self.used: str = ""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(states)
        pair = self.pairs.get(self.used)
        if pair is None:
            return found
        down, up, scale = pair
        return found + functional.linear(functional.linear(states.to(down.dtype), down), up).to(found.dtype) * scale

    @property
    def weight(self) -> Any:
        return self.layer.weight


class Adapters:
    """Those of one model. One at most is in use, by all requests."""

    def __init__(self, model: Any, decoder: Decoder, device: str) -> None:
        self._model, self._decoder, self._device = model, decoder, device
        self._prints: dict[str, str] = {}
        self.used = ""

    @property
    def names(self) -> list[str]:
        return sorted(self._prints)

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter; it is not in use yet. Raises `Failure`, and leaves the model as it was."""
        scale = _scale(folder)
        tensors = _tensors(folder)
        needed, (free, _) = sum(tensor.nbytes for tensor in tensors.values()), memory.free_bytes(self._device)
        if needed > free:
            what = f"The adapter {name} needs {memory.size(needed)}, {memory.size(free)} are free on {self._device}."
            raise Failure("no_memory", what, "Unload another adapter, or load the model with a shorter context.")
        pairs = self._pairs(tensors, scale, folder)
        self.unload(name)
        for path, pair in pairs.items():
            parent, _, last = path.rpartition(".")
            holder = self._model.get_submodule(parent)
            layer = getattr(holder, last)
            if not isinstance(layer, Adapted):
                layer = Adapted(layer)
                setattr(holder, last, layer)
            layer.pairs[name] = pair
        self._prints[name] = hashlib.sha256((folder / WEIGHTS).read_bytes() + str(scale).encode()).hexdigest()

    def _pairs(self, tensors: Mapping[str, torch.Tensor], scale: float, folder: Path) -> dict[str, Pair]:
        """For each layer's path; every tensor must have its place and its shape."""
        found: dict[str, Pair] = {}
        paths = {name.removeprefix(_PREFIX).rsplit(".lora_", 1)[0] for name in tensors}
        for path in sorted(paths):
            down, up = (tensors.get(f"{_PREFIX}{path}.lora_{part}.weight") for part in "AB")
            size = self._size(path)
            if down is None or up is None or size != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
                raise Failure(
                    "unsupported",
                    f"The adapter in {folder.name} was made for another model: {path} does not fit.",
                    "Load the model that it was trained on.",
                )
            found[path] = (down.to(self._device, torch.bfloat16), up.to(self._device, torch.bfloat16), scale)
        return found

    def _size(self, path: str) -> tuple[int, int] | None:
        """(out, in) of a linear layer of the model."""
        try:
            layer = self._model.get_submodule(path)
        except AttributeError:
            return None
        layer = layer.layer if isinstance(layer, Adapted) else layer
        return (layer.out_features, layer.in_features) if isinstance(layer, torch.nn.Linear) else None

    def use(self, name: str) -> None:
        """From now on this one, "" for the model alone. No request may be under way."""
        if name and name not in self._prints:
            raise Failure("unknown_model", f"There is no adapter {name} here.", f"There are: {', '.join(self.names)}.")
        for layer in self._layers():
            layer.used = name
        if self._decoder.fast:  # it reads the model's own weights
            self._decoder.fast.pause("adapter") if name else self._decoder.fast.resume("adapter")
        if name != self.used:
            # what was read was read with other weights
            self._decoder.drop()
            if self._decoder.memory:
                self._decoder.memory.tell_apart(self._prints.get(name, ""))
        self.used = name

    def unload(self, name: str) -> None:
        """Take an adapter off; the layers are what they were once the last one is gone."""
        if name == self.used:
            self.use("")
        self._prints.pop(name, None)
        for path, layer in [(p, m) for p, m in self._model.named_modules() if isinstance(m, Adapted)]:
            layer.pairs.pop(name, None)
            if not layer.pairs:
                parent, _, last = path.rpartition(".")
                setattr(self._model.get_submodule(parent), last, layer.layer)

    def _layers(self) -> list[Adapted]:
        return [module for module in self._model.modules() if isinstance(module, Adapted)]


def _scale(folder: Path) -> float:
    """What the adapter's part is multiplied by. Raises `Failure` for a kind of adapter that this is not."""
    try:
        told: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        rank, alpha = int(told["r"]), float(told["lora_alpha"])
    except FileNotFoundError:
        raise Failure("unknown_model", f"{folder} holds no {CONFIG}.", "Name the folder of an adapter.") from None
    except (ValueError, TypeError, KeyError):
        raise store.corrupt(folder / CONFIG, "makes no sense") from None
    odd = [key for key, plain in _PLAIN.items() if told.get(key) not in plain]
    if told.get("peft_type", "LORA") != "LORA" or odd or rank < 1:
        kind = ", ".join(odd) or told.get("peft_type")
        raise Failure("unsupported", f"{folder.name} is an adapter of another kind ({kind}).", "Use a plain LoRA.")
    return float(alpha / rank**0.5 if told.get("use_rslora") else alpha / rank)


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    store.refuse_code(folder)
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError):
        raise store.corrupt(folder / WEIGHTS, "is missing or not whole") from None
