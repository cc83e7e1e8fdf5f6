"""Times calls on their device, in seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

_CALLS = {"cuda": 30, "cpu": 3}


def seconds(call: Callable[[], object], device: str) -> float:
    """The median of some calls, after a warm-up."""
    for _ in range(5 if device == "cuda" else 1):
        call()
    return statistics.median(_once(call, device) for _ in range(_CALLS[device]))


def _once(call: Callable[[], object], device: str) -> float:
    if device != "cuda":
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    begin_mark, end_mark = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin_mark.record()
    call()
    end_mark.record()
    end_mark.synchronize()
    return begin_mark.elapsed_time(end_mark) / 1000


def recorded(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The same as a CUDA graph, which excludes Python's time between kernels."""
    if device != "cuda":
        return call
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
