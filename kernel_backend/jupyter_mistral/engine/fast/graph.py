"""Runs decode steps of a few sizes. On CUDA each size is recorded as a graph at its first step and replayed from then on.

A graph reads tokens, positions and the addresses of sequences from memory that stays in place, so neither longer nor other
sequences need a new recording. Knows no requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..kv.sequence import Pack
from .slots import Slots

BUCKETS = (1, 2, 4, 8, 16)  # tokens of a step; each step uses the smallest that fits
MOST = BUCKETS[-1]
_WARM_UPS = 2  # runs before a recording: the first compiles kernels, which a recording cannot

Work = Callable[[], Tensor]


class Model(Protocol):
    """What a step needs of a model (`step.FastModel`)."""

    device: torch.device

    @property
    def depth(self) -> int:
        """The number of its layers."""

    def forward(self, ids: Tensor, slots: Slots) -> Tensor: ...


class Recorder(Protocol):
    """Makes work repeatable. The work reads and writes the same memory each time; running it twice changes nothing."""

    def record(self, work: Work) -> Work:
        """A function that repeats the work; its result may use the same memory each time."""

    def forget(self) -> None:
        """Free the memory that recordings share; none of them is used again."""


class Direct:
    """Runs the work itself each time."""

    def record(self, work: Work) -> Work:
        return work

    def forget(self) -> None:
        pass


class Graphs:
    """CUDA graphs that share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch is half typed
        self._pool: Any = None

    def record(self, work: Work) -> Work:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # other threads of the worker may use the device meanwhile
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = work()
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def forget(self) -> None:
        self._pool = None


@dataclass(frozen=True)
class _Recorded:
    slots: Slots
    ids: Tensor  # int64 [bucket]
    play: Work


class Steps:
    """The decode steps of one model, over sequences with one format of KV cache."""

    def __init__(self, model: Model, kv: str, recorder: Recorder) -> None:
        self._model, self._kv, self._recorder = model, kv, recorder
        self._recorded: dict[int, _Recorded] = {}

    @property
    def recorded(self) -> list[int]:
        """Sizes that are recorded."""
        return sorted(self._recorded)

    def run(self, ids: Sequence[int], pack: Pack) -> Tensor:
        """Append the tokens `ids`, at most `MOST`, to the sequences of `pack`. Returns their scores [tokens, vocabulary]."""
        bucket = next(size for size in BUCKETS if size >= len(ids))
        step = self._recorded.get(bucket) or self._blank(bucket)
        step.slots.fill(pack)
        padded = [*ids, *[0] * (bucket - len(ids))]
        step.ids.copy_(torch.tensor(padded, pin_memory=step.ids.is_cuda), non_blocking=True)
        if bucket not in self._recorded:
            work = step.play
            self._recorded[bucket] = step = _Recorded(step.slots, step.ids, self._recorder.record(work))
        scores = step.play()[: len(ids)].clone()
        step.slots.advance()
        return scores

    def _blank(self, bucket: int) -> _Recorded:
        device = self._model.device
        slots = Slots(self._model.depth, bucket, self._kv, device)
        ids = torch.zeros(bucket, dtype=torch.int64, device=device)
        return _Recorded(slots, ids, lambda: self._model.forward(ids, slots))

    def release(self) -> None:
        """Drop the recordings; the next step of each size records again."""
        self._recorded.clear()
        self._recorder.forget()
