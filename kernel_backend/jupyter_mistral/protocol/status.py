"""The state of the model and its process, as `GET /mistral/api/status` returns it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .events import Loading, Usage

KV = ("bf16", "int8", "int4")  # number formats of the KV cache


@dataclass(frozen=True)
class ModelCard:
    """A model as the user sees it. can: "text", "image", "fim" (fill in the middle), "tools", "reasoning", "embedding".

    context_length in tokens. kv: number format of the KV cache, "" until the model is loaded. adapter: the LoRA adapter in use.
    """

    name: str
    title: str = ""
    licence: str = ""
    parameters: int = 0
    quantization: str = ""
    context_length: int = 0
    can: tuple[str, ...] = ("text",)
    kv: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class Seal:
    """How the worker is cut off from the network; `measured`: it verified this from inside.

    `outside`: there is no worker, an external engine answers; `reason` says where text goes.
    """

    kind: Literal["namespace", "seccomp", "none", "outside"] = "none"
    measured: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Memory:
    """Bytes on the device that holds the model. others: used by other processes, None if unknown, as on the CPU.
    spilled: bytes of layers that do not fit and stay in host memory.

    gpu: name of the GPU; power_w in watts and temperature_c in Celsius are read from NVML, None if it has no value.
    """

    device: str = ""
    weights: int = 0
    kv: int = 0
    free: int = 0
    total: int = 0
    others: int | None = None
    gpu: str = ""
    power_w: float | None = None
    temperature_c: int | None = None
    spilled: int = 0


@dataclass(frozen=True)
class Status:
    """`GET /mistral/api/status`. state: absent (not on disk), unloaded, loading, ready, parked, failed. running, queued: requests.

    engine: the capabilities of an external engine, None if the model runs here.
    """

    version: str
    state: Literal["absent", "unloaded", "loading", "ready", "parked", "failed"]
    default_model: str
    model: ModelCard | None = None
    progress: Loading | None = None
    running: int = 0
    queued: int = 0
    memory: Memory = field(default_factory=Memory)
    seal: Seal = field(default_factory=Seal)
    last: Usage | None = None
    failure: Mapping[str, Any] | None = None
    worker_pid: int | None = None
    idle_unload_s: float = 0.0
    engine: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["last"] = self.last.to_dict() if self.last else None
        return data
