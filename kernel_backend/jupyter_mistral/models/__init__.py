"""The catalogue of models, their files on disk, downloads, and the memory they need. No torch."""

from __future__ import annotations

EMBEDDED = "qwen2.5-coder-0.5b"
MISTRAL = "mistral-small-3.2"
MISTRAL_GPU_BYTES = 20 * 10**9


def default_name() -> str:
    """The default model: a Mistral with 20 GB of GPU memory or more, otherwise the built-in one."""
    from .memory import machine

    return MISTRAL if machine().gpu_total >= MISTRAL_GPU_BYTES else EMBEDDED


__all__ = ["EMBEDDED", "MISTRAL", "default_name"]
