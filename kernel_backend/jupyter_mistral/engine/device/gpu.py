"""What NVIDIA's management library (NVML) reports about the GPU: name, power, temperature, energy, memory of other processes.

A missing library, driver or value means no figure, never an error. NVML runs in the sealed process, like CUDA: the seal takes
sockets away, and NVML talks to the driver through /dev/nvidia*. Knows no models.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from ...protocol.status import Memory

Begin = Callable[[], tuple[str, int]]
_THE_CHIP = 0  # NVML_TEMPERATURE_GPU


class Gpu:
    """One device, or one MIG slice. context: bytes this process uses besides torch's, measured when CUDA started."""

    def __init__(self, library: Any, handle: Any, context: int) -> None:
        self._library, self._handle, self._context = library, handle, context
        self.name = str(self._ask("nvmlDeviceGetName") or "")

    def add_to(self, memory: Memory, reserved: int) -> Memory:
        """`memory` with NVML's figures added. reserved: bytes that torch has reserved on the device."""
        power, temperature = self._ask("nvmlDeviceGetPowerUsage"), self._ask("nvmlDeviceGetTemperature", _THE_CHIP)
        watts = None if power is None else round(power / 1000, 1)
        return replace(memory, gpu=self.name, others=self._others(reserved), power_w=watts, temperature_c=temperature)

    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded, of the whole device (Volta and newer; not for a MIG slice)."""
        energy = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if energy is None else int(energy)

    def _others(self, reserved: int) -> int | None:
        """Bytes in use minus ours: what NVML lists for this process or, in a container that hides its pid, torch's and the
        context's."""
        # version 2's `used` excludes the driver's own memory
        info = self._ask("nvmlDeviceGetMemoryInfo", self._library.nvmlMemory_v2)
        if info is None:
            return None
        listed = self._ask("nvmlDeviceGetComputeRunningProcesses") or ()
        mine = next((one.usedGpuMemory for one in listed if one.pid == os.getpid()), None)
        return max(0, int(info.used) - int(mine or reserved + self._context))

    def _ask(self, question: str, *about: Any) -> Any:
        return _ask(self._library, question, self._handle, *about)


def find(begin: Begin) -> Gpu | None:
    """The device that torch computes on; None if NVML does not know it.

    begin: starts the CUDA context and returns the device's UUID, which CUDA_VISIBLE_DEVICES does not change, and the bytes that
    torch has reserved there.
    """
    library = _library()
    if library is None:
        return None
    handles = [_ask(library, "nvmlDeviceGetHandleByIndex", i) for i in range(_ask(library, "nvmlDeviceGetCount") or 0)]
    before = {_ask(library, "nvmlDeviceGetUUID", handle): _used(library, handle) for handle in handles}
    uuid, reserved = begin()
    for name in (f"GPU-{uuid}", f"MIG-{uuid}"):
        handle = _ask(library, "nvmlDeviceGetHandleByUUID", name)
        if handle is not None:
            used = _used(library, handle)
            return Gpu(library, handle, max(0, used - before.get(name, used) - reserved))
    return None


@cache
def current() -> Gpu | None:
    """The GPU of this process, looked up once. Call it before any weights are loaded."""
    return find(_begin)


def _begin() -> tuple[str, int]:
    torch.zeros(1, device="cuda")
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    return str(uuid), int(torch.cuda.memory_reserved())


def _library() -> Any:
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError:  # no driver, or one whose version differs from the library
        return None
    return library


def _used(library: Any, handle: Any) -> int:
    info = _ask(library, "nvmlDeviceGetMemoryInfo", handle, library.nvmlMemory_v2)
    return int(info.used) if info is not None else 0


def _ask(library: Any, question: str, *about: Any) -> Any:
    """None where this device or driver does not support the question."""
    try:
        return getattr(library, question)(*about)
    except library.NVMLError:
        return None
