"""NVIDIA's library as our code sees it, with one GPU whose figures stand in the JSON file that FAKE_NVML names. What the file
does not hold is not supported there. Each question is noted beside the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

nvmlMemory_v2 = 33554472


class NVMLError(Exception):
    pass


def _told(name: str) -> Any:
    file = Path(os.environ["FAKE_NVML"])
    with file.with_suffix(".asked").open("a") as asked:
        asked.write(f"{name}\n")
    found = json.loads(file.read_text())
    if name not in found:
        raise NVMLError("Not Supported")
    return found[name]


def nvmlInit() -> None:
    _told("driver")


def nvmlDeviceGetCount() -> int:
    return len(_told("uuids"))


def nvmlDeviceGetHandleByIndex(index: int) -> str:
    return str(_told("uuids")[index])


def nvmlDeviceGetUUID(handle: str) -> str:
    return handle


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:
    if uuid not in _told("uuids") + _told("slices"):
        raise NVMLError("Not Found")
    return uuid


def nvmlDeviceGetName(handle: str) -> str:
    return f"{_told('name')} {handle}"


def nvmlDeviceGetPowerUsage(handle: str) -> int:
    return int(_told("power_mw"))


def nvmlDeviceGetTemperature(handle: str, sensor: int) -> int:
    assert sensor == 0
    return int(_told("temperature"))


def nvmlDeviceGetMemoryInfo(handle: str, version: int) -> SimpleNamespace:
    assert version == nvmlMemory_v2
    return SimpleNamespace(used=_told("used")[handle])


def nvmlDeviceGetComputeRunningProcesses(handle: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in _told("processes")]


def nvmlDeviceGetTotalEnergyConsumption(handle: str) -> int:
    return int(_told("energy_mj"))
