"""Parks a model: its weights leave the GPU for host memory and come back with one copy. Knows no requests."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable
from typing import Any

import torch

from ...protocol.failures import Failure
from ..decode.decoder import Decoder
from ..device import memory
from .spill import Spill


class Placement:
    """Where one model's weights are. On the CPU they stay where they are; parking only frees working memory."""

    def __init__(self, model: Any, decoder: Decoder, device: str, weights: int, spill: Spill | None = None) -> None:
        self._model, self._decoder, self._device, self._weights = model, decoder, device, weights
        self._spill = spill
        self.is_parked = False

    @property
    def device_bytes(self) -> int:
        """Bytes of weights on the device now."""
        return 0 if self.is_parked and self._device != "cpu" else self._weights

    @property
    def host_bytes(self) -> int:
        """Bytes of spilled weights, which are on the device only while their layer runs."""
        return self._spill.host_bytes if self._spill else 0

    def park(self) -> None:
        """Move everything off the device. No request may be running. Raises `Failure("no_memory")` if the host has no room."""
        if self.is_parked:
            return
        if self._device != "cpu":
            self._require_room(
                "cpu", "Unload the model instead: that needs no memory, but loading it again takes longer."
            )
        self._decoder.free_idle()
        if self._decoder.fast:
            self._decoder.fast.pause("parked", keeps_weights=self._device == "cpu")
        if self._spill:
            self._spill.free_buffers()
        self._move("cpu")
        self.is_parked = True
        _return_to_system()

    def wake(self) -> None:
        """Move everything back. Raises `Failure("no_memory")` and stays parked if the device has no room now."""
        if not self.is_parked:
            return
        if self._device != "cpu":
            self._require_room(self._device, "Free GPU memory in your kernel (restart it), then ask again.")
        self._move(self._device)
        if self._spill:
            self._spill.allocate_buffers()
        if self._decoder.fast:
            self._decoder.fast.resume("parked")
        self.is_parked = False

    def _require_room(self, device: str, todo: str) -> None:
        free, _ = memory.free_bytes(device)
        needed = self._weights + memory.margin(device)
        if free < needed:
            message = f"The weights need {memory.format_bytes(needed)} on {device}, but only {memory.format_bytes(free)} are free."
            raise Failure("no_memory", message, todo)

    def _move(self, device: str) -> None:
        move(self._spill.resident(self._model) if self._spill else self._model.modules(), device)


def move(modules: Iterable[Any], device: str) -> None:
    """Move tensor by tensor, so that at most one exists twice. Through `data`: with `.to`, bitsandbytes would unpack a 4-bit
    parameter, which loses bits on the CPU."""
    for module in modules:
        for parameter in module._parameters.values():
            if parameter is not None:
                parameter.data = parameter.data.to(device)
                if getattr(parameter, "quant_state", None) is not None:
                    parameter.quant_state.to(device)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)


def _return_to_system() -> None:
    """Return free memory to the system, not only to the allocators."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
