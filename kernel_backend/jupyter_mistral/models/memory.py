"""The memory that a model needs in 4-bit, the memory of this machine, and whether the model fits. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from .entry import Entry

GIB = 2**30
# NF4 with double quantization: 4 bits per weight, an 8-bit absmax per 64 weights, a 32-bit one per 256 of those
NF4_BYTES = 4 / 8 + 1 / 64 + 4 / (64 * 256)
# number formats of the KV cache: bits per number
KV_KINDS = {"bf16": 16, "int8": 8, "int4": 4}
# tokens that share the two float16 scales of a key, and channels that share those of a value
KEY_GROUP, VALUE_GROUP = 32, 64
_SCALES = 32  # bits per group
GPU_MARGIN = int(1.8 * GIB)  # CUDA context, activations, graphs
CPU_SHARE = 0.9  # of the memory; the rest is for the system and the user's kernel
CPU_MARGIN, CPU_REPACK = GIB // 2, 0.7  # the worker itself; the first forward repacks the weights beside their file


class Fit(NamedTuple):
    """Where a model can run (`gpu`, `cpu` or `no`), and the reason as a sentence."""

    where: Literal["gpu", "cpu", "no"]
    reason: str


@dataclass(frozen=True)
class Machine:
    """Bytes of memory. ram_total: what this process may use, so the limit of a container if that is lower."""

    gpu_name: str = ""
    gpu_total: int = 0
    gpu_free: int = 0
    ram_total: int = 0
    ram_free: int = 0


def weight_bytes(entry: Entry) -> int:
    """Bytes of the weights: linear layers in NF4 with double quantization, embeddings, head and vision in 16 bit.

    Mistral Small 3.1: 22.23 B in linear layers and 1.78 B others give 15.0 GB. Qwen2.5-Coder-0.5B gives 457 MB, the size of its
    file.
    """
    return int((entry.parameters - entry.sixteen_bit) * NF4_BYTES + 2 * entry.sixteen_bit)


def kv_bytes_per_head(size: int, kv: str = "bf16") -> float:
    """Bytes of one token's key and value in one head of one layer, scales included."""
    bits = 2 * size * KV_KINDS[kv]
    if kv != "bf16":
        bits += size * _SCALES // KEY_GROUP + size // min(size, VALUE_GROUP) * _SCALES
    return bits / 8


def kv_bytes(entry: Entry, context: int, kv: str = "bf16") -> int:
    """Bytes of the KV cache: layers x KV heads x bytes per head x tokens. 160 KiB per token for the 24B family in bf16."""
    return int(entry.layers * entry.kv_heads * kv_bytes_per_head(entry.head_dim, kv) * context)


def need(entry: Entry, context: int, *, device: Literal["gpu", "cpu"] = "gpu", kv: str = "bf16") -> int:
    """Total bytes that a model needs with so many tokens of context; 0 if its shapes are not known yet.

    The CPU margin was fitted to the measured peaks of three models (0.6, 1.2 and 2.4 GB at 2,048 tokens): half a GiB, plus 0.7
    of the weights for their repacked copies.
    """
    weights = weight_bytes(entry)
    if not weights:
        return 0
    margin = GPU_MARGIN if device == "gpu" else CPU_MARGIN + int(CPU_REPACK * weights)
    return weights + kv_bytes(entry, context, kv) + margin


def spilled_need(entry: Entry, context: int, kv: str = "bf16") -> int:
    """Bytes on the GPU if all layers stay in host memory and two at a time are copied over: the least that is possible."""
    linears = (entry.parameters - entry.sixteen_bit) * NF4_BYTES
    return need(entry, context, kv=kv) - int(linears * (1 - 2 / max(2, entry.layers)))


@cache
def machine() -> Machine:
    """The memory of this machine, read once per process because nvidia-smi is slow."""
    name, total, free = _gpu()
    ram_total, ram_free = _ram()
    return Machine(name, total, free, ram_total, ram_free)


def fits(entry: Entry, context: int, of: Machine | None = None, kv: str = "bf16") -> Fit:
    """Whether a model with so many tokens of context fits the GPU, or else the memory, with the reason."""
    here = of or machine()
    if entry.engine == "external":
        return Fit("no", f"{entry.title} is for an external engine.")
    if not entry.parameters:
        return Fit("no", "Its size is unknown until it is downloaded.")
    on_gpu, on_cpu = need(entry, context, kv=kv), need(entry, context, device="cpu", kv=kv)
    if here.gpu_total >= on_gpu:
        return Fit("gpu", f"It needs {gib(on_gpu)} of the {gib(here.gpu_total)} of {here.gpu_name or 'the GPU'}.")
    room, hint = here.ram_total * CPU_SHARE, ""
    if here.gpu_total >= spilled_need(entry, context, kv) and room >= weight_bytes(entry):
        hint = " With `--spill` it runs on the GPU, with a part of it in host memory."
    if room >= on_cpu:
        return Fit("cpu", f"It needs {gib(on_cpu)} of {gib(here.ram_total)} of memory.{hint}")
    card = f" ({gib(on_gpu)} on a GPU, which has {gib(here.gpu_total)})" if here.gpu_total else ""
    return Fit("no", f"It needs {gib(on_cpu)} of memory{card}; this machine has {gib(here.ram_total)}.{hint}")


def gib(count: int) -> str:
    """Bytes as GiB with one decimal, or as MiB below 1 GiB."""
    return f"{count / GIB:,.1f} GiB" if count >= GIB else f"{count / 2**20:,.0f} MiB"


def _gpu() -> tuple[str, int, int]:
    """Name, total and free bytes of the largest GPU from nvidia-smi; zeros if there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "", 0, 0
    asked = [tool, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "", 0, 0
    return _largest(told)


def _largest(csv: str) -> tuple[str, int, int]:
    found = []
    for line in csv.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            found.append((parts[0], int(parts[1]) * 2**20, int(parts[2]) * 2**20))
    return max(found, key=lambda gpu: gpu[1], default=("", 0, 0))


def _ram() -> tuple[int, int]:
    total, free = _host_ram()
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _number(Path(path))
        if limit and limit < total:
            total, free = limit, min(free, limit)
    return total, free


def _host_ram() -> tuple[int, int]:
    try:
        import psutil
    except ImportError:
        return _ram_without_psutil()
    told = psutil.virtual_memory()
    return int(told.total), int(told.available)


def _ram_without_psutil() -> tuple[int, int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        total = pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else 0
        return total, total
    table = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
    return table.get("MemTotal", 0), table.get("MemAvailable", 0)


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
