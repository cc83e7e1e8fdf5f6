"""What NVIDIA's management library (NVML) tells of the device: name, power, temperature, energy, the memory of other processes.
Where the library, a driver or an answer is missing there is no figure, and no error. Knows no models.

It is opened in the sealed process, like CUDA: the seal takes sockets away, and NVML asks the driver through /dev/nvidia*.
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
    """One device or one MIG slice of it. context: bytes that this process holds there beside torch's, measured as it began."""

    def __init__(self, library: Any, handle: Any, context: int) -> None:
        self._library, self._handle, self._context = library, handle, context
        self.name = str(self._ask("nvmlDeviceGetName") or "")

    def figures(self, memory: Memory, reserved: int) -> Memory:
        """`memory` with what NVML tells beside it. reserved: bytes that torch holds on the device."""
        power, warmth = self._ask("nvmlDeviceGetPowerUsage"), self._ask("nvmlDeviceGetTemperature", _THE_CHIP)
        watts = None if power is None else round(power / 1000, 1)
        return replace(memory, gpu=self.name, others=self._others(reserved), power_w=watts, temperature_c=warmth)

    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded (Volta and newer; not of a MIG slice). The whole device's, whoever uses it."""
        found = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else int(found)

    def _others(self, reserved: int) -> int | None:
        """Bytes in use less ours: what NVML lists for this process or, in a container that hides its number, torch's and the
        context's."""
        told = self._ask(
            "nvmlDeviceGetMemoryInfo", self._library.nvmlMemory_v2
        )  # its `used` leaves the driver's own out
        if told is None:
            return None
        listed = self._ask("nvmlDeviceGetComputeRunningProcesses") or ()
        mine = next((one.usedGpuMemory for one in listed if one.pid == os.getpid()), None)
        return max(0, int(told.used) - int(mine or reserved + self._context))

    def _ask(self, question: str, *about: Any) -> Any:
        return _ask(self._library, question, self._handle, *about)


def find(begin: Begin) -> Gpu | None:
    """The device that torch computes on, None where NVML does not know it.

    begin: starts the CUDA context; gives the device's UUID, which stays its own where CUDA_VISIBLE_DEVICES numbers anew, and
    the bytes that torch holds there.
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
    """The GPU of this process, found once. Call before any weights are there."""
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
    except library.NVMLError:  # no driver, or one of another version than its library
        return None
    return library


def _used(library: Any, handle: Any) -> int:
    told = _ask(library, "nvmlDeviceGetMemoryInfo", handle, library.nvmlMemory_v2)
    return int(told.used) if told is not None else 0


def _ask(library: Any, question: str, *about: Any) -> Any:
    """None where this device or this driver has no answer."""
    try:
        return getattr(library, question)(*about)
    except library.NVMLError:
        return None
