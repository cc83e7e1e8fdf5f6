"""The limits of this machine, as the reference for other figures."""

from __future__ import annotations

import torch

from .sections import Plan, Report
from .timing import seconds


def copied(plan: Plan) -> float:
    """Bytes read and written per second by a copy."""
    size = 1 << (20 if plan.is_tiny else 31)
    source = torch.randint(-(2**31), 2**31 - 1, (size // 4,), dtype=torch.int32, device=plan.device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), plan.device)


def measure(plan: Plan, tell: Report) -> None:
    if plan.device == "cuda":
        tell("device", {"name": torch.cuda.get_device_name()})
    tell("copy", {"GB/s": round(copied(plan) / 1e9, 1)})
    numbers = torch.zeros(1 << (18 if plan.is_tiny else 29), dtype=torch.int32, device=plan.device)
    read = seconds(lambda: numbers.sum(), plan.device)
    tell("read", {"GB/s": round(numbers.nbytes / read / 1e9, 1)})
    side = 256 if plan.is_tiny else 8192
    one, two = (torch.randn(side, side, device=plan.device, dtype=torch.bfloat16) for _ in range(2))
    multiplied = seconds(lambda: one @ two, plan.device)
    tell("matmul, bf16", {"TFLOP/s": round(2 * side**3 / multiplied / 1e12, 2)})
