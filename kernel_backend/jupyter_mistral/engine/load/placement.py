"""Lends the device: a model's weights rest in host memory and come back in the time of a copy. Knows no requests."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable
from typing import Any

import torch

from ...protocol.failures import Failure
from ..decode.decoder import Decoder
from . import memory
from .spill import Spill


class Shelf:
    """Where one model's weights are. On the CPU they stay where they are, and only working memory is given back."""

    def __init__(self, model: Any, decoder: Decoder, device: str, weights: int, spill: Spill | None = None) -> None:
        self._model, self._decoder, self._device, self._weights = model, decoder, device, weights
        self._spill = spill
        self.is_parked = False

    @property
    def held(self) -> int:
        """Bytes of weights on the device."""
        return 0 if self.is_parked and self._device != "cpu" else self._weights

    @property
    def spilled(self) -> int:
        """Bytes of weights that never lie on the device for longer than their layer computes."""
        return self._spill.host_bytes if self._spill else 0

    def park(self) -> None:
        """Take all off the device. No request may be under way. Raises `Failure("no_memory")` where the host has no room."""
        if self.is_parked:
            return
        if self._device != "cpu":
            self._refuse("cpu", "Unload it instead: that needs no memory, and takes longer to come back from.")
        self._decoder.drop()
        if self._decoder.fast:
            self._decoder.fast.pause("parked", keeps_weights=self._device == "cpu")
        if self._spill:
            self._spill.release()
        self._move("cpu")
        self.is_parked = True
        _give_back()

    def wake(self) -> None:
        """Bring all back. Raises `Failure("no_memory")`, and stays parked, where something else took the room."""
        if not self.is_parked:
            return
        if self._device != "cpu":
            self._refuse(
                self._device, "Free memory of the device in your kernel (`del`, then a restart), then ask again."
            )
        self._move(self._device)
        if self._spill:
            self._spill.bring()
        if self._decoder.fast:
            self._decoder.fast.resume("parked")
        self.is_parked = False

    def _refuse(self, device: str, todo: str) -> None:
        free, _ = memory.free_bytes(device)
        needed = self._weights + memory.margin(device)
        if free < needed:
            what = f"The weights need {memory.size(needed)} on {device}, {memory.size(free)} are free."
            raise Failure("no_memory", what, todo)

    def _move(self, device: str) -> None:
        move(self._spill.resident(self._model) if self._spill else self._model.modules(), device)


def move(modules: Iterable[Any], device: str) -> None:
    """Tensor by tensor, so that never more than one is in both places. By `data`: moving a 4-bit parameter the usual way would
    have bitsandbytes unpack it, which loses bits on the CPU."""
    for module in modules:
        for parameter in module._parameters.values():
            if parameter is not None:
                parameter.data = parameter.data.to(device)
                if getattr(parameter, "quant_state", None) is not None:
                    parameter.quant_state.to(device)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)


def _give_back() -> None:
    """To the system, not only to the allocator."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)
