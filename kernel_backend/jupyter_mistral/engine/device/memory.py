"""Memory in bytes: what a model needs on its device and what is free there. Refuses a model before anything is copied."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import psutil
import torch

from ...models.memory import kv_bytes_per_head
from ...protocol.failures import Failure
from ...protocol.status import Memory
from .gpu import Gpu

LEAST_CONTEXT = 2048
_MIB = 2**20
# besides weights and KV cache: activations, tokenizer, torch itself; on a GPU also its context and kernels
_MARGIN = {"cpu": 500 * _MIB, "cuda": 1800 * _MIB}


def free_bytes(device: str) -> tuple[int, int]:
    """(free, total) of the device; on the CPU within the limits of the control group."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return int(free), int(total)
    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    limit, used = _control_group()
    return (min(free, limit - used), min(total, limit)) if limit else (free, total)


def _control_group() -> tuple[int, int]:
    """(limit, bytes used without page cache) of the control group; zeros without one."""
    for limit, used, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        root = Path("/sys/fs/cgroup")
        try:
            most = int((root / limit).read_text())
            fields = dict(line.split() for line in (root / stat).read_text().splitlines())
            return (most, int((root / used).read_text()) - int(fields.get(cache, 0))) if most < 1 << 60 else (0, 0)
        except (OSError, ValueError):
            continue
    return 0, 0


def clear() -> None:
    """Free what an earlier model has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def kv_bytes_per_token(config: Any, kv: str) -> int:
    """Bytes of the KV cache per token, from the text configuration."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return math.ceil(int(config.num_hidden_layers) * int(heads) * kv_bytes_per_head(head_size(config), kv))


def head_size(config: Any) -> int:
    """Channels of an attention head, from the text configuration."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def admit(weights: int, per_token: int, context: int | None, longest: int, free: int, device: str) -> tuple[int, int]:
    """The context length to load with (`context`, else the longest that fits), and the tokens that fit in all.

    Raises `Failure("no_memory")` with the numbers.
    """
    room = free - weights - _MARGIN[device]
    fits = max(0, room // max(1, per_token))
    least = min(context or LEAST_CONTEXT, longest)
    if fits >= least:
        return least if context else min(longest, fits), fits
    need = weights + _MARGIN[device] + per_token * least
    todo = "Close other programs, or load a smaller model."
    if device == "cuda":
        todo = "Close other programs, keep some layers in host memory (`%mistral load NAME --spill`), or load a smaller model."
    if fits >= LEAST_CONTEXT:
        todo = f"Load it with a context of at most {fits:,} tokens."
    raise Failure(
        "no_memory",
        f"The model needs {format_bytes(need)} with {least:,} tokens of context, but only {format_bytes(free)} are free on {device}.",
        todo,
    )


_ONEDNN_HAS_NO_MEMORY = {"could not create a primitive", "could not create a memory"}


def out_of_memory(device: str) -> Failure:
    free, _ = free_bytes(device)
    return Failure(
        "no_memory",
        f"Out of memory ({format_bytes(free)} free on {device}).",
        "Ask with less context, load the model with a shorter context, or load a smaller model.",
    )


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # neither torch's CPU allocator nor oneDNN has an exception type for it
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or str(error) in _ONEDNN_HAS_NO_MEMORY)


def measure(device: str, weights: int, kv: int, gpu: Gpu | None = None) -> Memory:
    free, total = free_bytes(device)
    measured = Memory(device, weights, kv, free, total)
    return gpu.add_to(measured, int(torch.cuda.memory_reserved())) if gpu is not None else measured


def margin(device: str) -> int:
    """Bytes needed besides weights and KV cache."""
    return _MARGIN[device]


def format_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
