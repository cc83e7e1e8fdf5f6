"""LoRA adapters in peft's format on a 4-bit model: loaded, switched and unloaded while it runs.

Without peft, which moves each layer that it adapts: bitsandbytes would then unpack a CPU layer's weights with a loss. Here the
layers stay as they are and each adapter's product is added to their output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ...models import store
from ...protocol.failures import Failure
from ..decode.decoder import Decoder
from ..decode.lora import LoraLayer, LoraPair
from ..device import memory

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# settings of other kinds of adapters, and the values of a plain LoRA
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


class Adapters:
    """The adapters of one model. At most one is in use, by all requests."""

    def __init__(self, model: Any, decoder: Decoder, device: str) -> None:
        self._model, self._decoder, self._device = model, decoder, device
        self._digests: dict[str, str] = {}
        self.used = ""

    @property
    def names(self) -> list[str]:
        return sorted(self._digests)

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter without using it yet. Raises `Failure` and leaves the model as it was."""
        scale = _scale(folder)
        tensors = _tensors(folder)
        needed, (free, _) = sum(tensor.nbytes for tensor in tensors.values()), memory.free_bytes(self._device)
        if needed > free:
            message = f"The adapter {name} needs {memory.format_bytes(needed)}, but only {memory.format_bytes(free)} are free on {self._device}."
            raise Failure("no_memory", message, "Unload another adapter, or load the model with a shorter context.")
        pairs = self._pairs(tensors, scale, folder)
        self.unload(name)
        for path, pair in pairs.items():
            parent, _, last = path.rpartition(".")
            holder = self._model.get_submodule(parent)
            layer = getattr(holder, last)
            if not isinstance(layer, LoraLayer):
                layer = LoraLayer(layer)
                setattr(holder, last, layer)
            layer.pairs[name] = pair
        self._digests[name] = hashlib.sha256((folder / WEIGHTS).read_bytes() + str(scale).encode()).hexdigest()

    def _pairs(self, tensors: Mapping[str, torch.Tensor], scale: float, folder: Path) -> dict[str, LoraPair]:
        """For each layer's path. Raises `Failure` if a tensor does not belong to the model or has another shape."""
        pairs: dict[str, LoraPair] = {}
        paths = {name.removeprefix(_PREFIX).rsplit(".lora_", 1)[0] for name in tensors}
        for path in sorted(paths):
            down, up = (tensors.get(f"{_PREFIX}{path}.lora_{part}.weight") for part in "AB")
            size = self._size(path)
            if down is None or up is None or size != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
                raise Failure(
                    "unsupported",
                    f"The adapter in {folder.name} was made for another model: its layer {path} does not fit.",
                    "Load the model that it was trained on.",
                )
            pairs[path] = (down.to(self._device, torch.bfloat16), up.to(self._device, torch.bfloat16), scale)
        return pairs

    def _size(self, path: str) -> tuple[int, int] | None:
        """(out, in) of a linear layer of the model."""
        try:
            layer = self._model.get_submodule(path)
        except AttributeError:
            return None
        layer = layer.layer if isinstance(layer, LoraLayer) else layer
        return (layer.out_features, layer.in_features) if isinstance(layer, torch.nn.Linear) else None

    def use(self, name: str) -> None:
        """Use this adapter from now on, "" for none. No request may be running."""
        if name and name not in self._digests:
            raise Failure(
                "unknown_model", f"The adapter {name} is not loaded.", f"Loaded: {', '.join(self.names) or 'none'}."
            )
        for layer in self._layers():
            layer.used = name
        if self._decoder.fast:  # it reads the model's own weights
            self._decoder.fast.pause("adapter") if name else self._decoder.fast.resume("adapter")
        if name != self.used:
            # the KV cache was computed with other weights
            self._decoder.free_idle()
            if self._decoder.memory:
                self._decoder.memory.use_variant(self._digests.get(name, ""))
        self.used = name

    def unload(self, name: str) -> None:
        """Remove an adapter; the last one leaves the layers as they were."""
        if name == self.used:
            self.use("")
        self._digests.pop(name, None)
        for path, layer in [(p, m) for p, m in self._model.named_modules() if isinstance(m, LoraLayer)]:
            layer.pairs.pop(name, None)
            if not layer.pairs:
                parent, _, last = path.rpartition(".")
                setattr(self._model.get_submodule(parent), last, layer.layer)

    def _layers(self) -> list[LoraLayer]:
        return [module for module in self._model.modules() if isinstance(module, LoraLayer)]


def _scale(folder: Path) -> float:
    """The factor of the adapter's product. Raises `Failure` for adapters that are not a plain LoRA."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except FileNotFoundError:
        raise Failure("unknown_model", f"{folder} contains no {CONFIG}.", "Give the folder of an adapter.") from None
    except (ValueError, TypeError, KeyError):
        raise store.corrupt(folder / CONFIG, "is malformed") from None
    odd = [key for key, plain in _PLAIN.items() if config.get(key) not in plain]
    if config.get("peft_type", "LORA") != "LORA" or odd or rank < 1:
        kind = ", ".join(odd) or config.get("peft_type")
        raise Failure(
            "unsupported", f"{folder.name} is not a plain LoRA adapter ({kind}).", "Use a plain LoRA adapter."
        )
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    store.refuse_code(folder)
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError):
        raise store.corrupt(folder / WEIGHTS, "is missing or incomplete") from None
