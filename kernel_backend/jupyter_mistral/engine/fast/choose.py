"""Decides whether a model's decode steps take the fast path: requested, supported, tested on this device, and not failed since.

Otherwise transformers' own forward serves, and the reason is reported. Knows no text.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from ..decode.decoder import Decoder
from ..decode.row import Need, Row
from ..device import memory
from . import ops
from .graph import BUCKETS, MOST, Direct, Graphs, Steps
from .nf4 import Unfit
from .slots import Slots
from .step import FastModel
from .tuning import Tune, tuned

SWITCH = "JUPYTER_MISTRAL_DECODE"
HEAD = "JUPYTER_MISTRAL_HEAD"  # int8 halves the head's bytes on the fast path
MODES = ("auto", "triton", "reference", "off")
# of |fast - model| / |model| over the scores of a token: both round to 16 bit after each of hundreds of matrices. Measured with
# the reference over 256 tokens: up to 0.02 with Qwen 2.5 Coder 0.5B, 0.12 at one token of SmolLM2 135M, mostly 0.01
BOUND = 0.25
_ACCEPTED = 0.75  # share of drafted tokens that are accepted
_GAIN = 1.1  # speed-up that a draft must promise
# tokens prefilled before the check: the steps of all sizes then cross the end of a block of 64. Runs of each timing
_PREFILL, _TRIES = 97, 5


class FastPath:
    """The fast path of one decoder. Paused while the model is parked or uses an adapter; a failure ends it for good."""

    def __init__(self, build: Callable[[], FastModel], kv: str, draft: int = MOST - 1) -> None:
        """draft: the longest draft that its steps verify quickly, in tokens. Raises `Unfit`."""
        self._build, self._kv, self.draft = build, kv, draft
        self._model: FastModel | None = build()
        self._is_cuda = self._model.device.type == "cuda"
        self._steps: Steps | None = None
        self._paused: set[str] = set()
        self.failure = ""  # why it is off for good

    @property
    def is_on(self) -> bool:
        return not self.failure and not self._paused

    @property
    def recorded(self) -> list[int]:
        """Sizes of the steps that are recorded."""
        return self._steps.recorded if self._steps else []

    @torch.inference_mode()
    def run(self, needs: Sequence[Need]) -> dict[int, torch.Tensor]:
        """Scores of the needs that fast steps can serve, by index; none if one is a prefill, which the others join.

        After a failure the sequences are unchanged and no need is served; raises if they cannot be restored.
        """
        if not self.is_on or any(not need.tokens for need in needs):
            return {}
        before = [need.row.sequence.length for need in needs]
        try:
            scores: dict[int, torch.Tensor] = {}
            for group in _groups(needs):
                scores |= self._step(group)
            if self._is_cuda:
                torch.cuda.synchronize()
            return scores
        except Exception as error:
            if memory.is_out_of_memory(error):  # the model's own forward would need no less
                raise
            self._fail(error)
            if any(need.row.sequence.cut(length) != length for need, length in zip(needs, before, strict=True)):
                raise
            return {}

    def _step(self, group: Sequence[tuple[int, Need]]) -> dict[int, torch.Tensor]:
        if self._steps is None:
            assert self._model is not None, "paused while it has no weights"
            recorder = Graphs(self._model.device) if self._is_cuda else Direct()
            self._steps = Steps(self._model, self._kv, recorder)
        ids = [token for _, need in group for token in need.tokens]
        scores = self._steps.run(ids, [(need.row.sequence, need.count) for _, need in group])
        parts = torch.split(scores, [need.count for _, need in group])
        return {index: part[-need.keep :] for (index, need), part in zip(group, parts, strict=True)}

    def tune(self, tune: Tune) -> None:
        """Choose by timing how 4-bit matrices are tiled, before the first step; by rule if that fails. Logs the choice."""
        assert self._model is not None and not self.recorded
        try:
            for (rows, columns, _), cut in tuned(self._model.matrices, tune):
                print(f"jupyter_mistral.engine: {rows} x {columns} in 4 bit: {cut}", file=sys.stderr, flush=True)
        except Exception as error:  # of a compiler or a device; the rule's tilings are tested next
            _log(error, "tiles by rule")

    # ------------------------------------------------------------------------------------------ pauses

    def pause(self, why: str, keeps_weights: bool = True) -> None:
        """Serve no steps until `resume`. Drops the recordings, and the references to weights that move."""
        self._paused.add(why)
        self._drop()
        if not keeps_weights:
            self._model = None

    def resume(self, why: str) -> None:
        self._paused.discard(why)
        if self._model is None and not self._paused and not self.failure:
            try:
                self._model = self._build()
            except Exception as error:  # the model's own forward needs none of this
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = _reason(error)
        self._drop()
        self._model = None
        _log(error)

    def _drop(self) -> None:
        if self._steps is not None:
            self._steps.release()
            self._steps = None


def _groups(needs: Sequence[Need]) -> list[list[tuple[int, Need]]]:
    """The needs of each step, with their indices; needs that fit into no step are left out."""
    groups: list[list[tuple[int, Need]]] = []
    room = 0
    for index, need in enumerate(needs):
        if need.count > MOST or not Slots.fits([(need.row.sequence, need.count)]):
            continue
        if not groups or need.count > room:
            groups.append([])
            room = MOST
        groups[-1].append((index, need))
        room -= need.count
    return groups


# ---------------------------------------------------------------------------------------------- at load


def fast_path(model: Any, kv: str, mode: str, tune: Tune | None = None) -> tuple[FastPath | None, str]:
    """The fast path of a model with this format of KV cache, or the reason why there is none ("" if it was not requested).

    Call it before the model's first forward (see `FastModel`). mode: auto (triton on CUDA, else off), triton, reference or off.
    tune: chooses how matrices are tiled; by default Triton's kernels are timed where they are compiled.
    """
    if mode not in MODES:
        return None, f"{SWITCH}={mode} is none of {', '.join(MODES)}"
    is_cuda = model.device.type == "cuda"
    if mode == "off" or (mode == "auto" and not is_cuda):
        return None, ""
    try:
        kernels = ops.Reference() if mode == "reference" else ops.triton()
        decoder = Decoder(model, MOST * MOST, None, kv)
        if not decoder.is_packing:
            raise Unfit("the model has its own attention")
        fast = FastPath(lambda: FastModel(model, kernels, os.environ.get(HEAD, "bf16")), kv)
        if tune is None and mode != "reference":
            tune = ops.tuner(model.device)
        if tune is not None:
            fast.tune(tune)
        reason = find_difference(decoder, fast)
        if not reason and is_cuda:
            fast.draft = draft_width(_times(decoder, fast))
    except Exception as error:  # the model must load even if a device or a compiler fails here
        if memory.is_out_of_memory(error):
            raise
        if not isinstance(error, Unfit):
            _log(error)
        return None, _reason(error)
    return (None, reason) if reason else (fast, "")


def find_difference(decoder: Decoder, fast: FastPath) -> str:
    """Why the two paths give different scores, or "". Runs a step of each size, and one after a block became whole."""
    reference, tested = _prefilled(decoder), _prefilled(decoder)
    for count in (*BUCKETS, 1):
        ids = _ids(decoder, count, count)
        [expected] = decoder.forward([reference.step(ids)])
        actual = fast.run([tested.step(ids)]).get(0)
        if actual is None:
            return fast.failure or f"a step of {count} tokens was not taken"
        error = relative_error(actual, expected)
        if not error <= BOUND:  # nan too
            return f"its scores are off by {error:.2g} in a step of {count}"
    for row in (reference, tested):
        row.free()
    return ""


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest |actual - expected| / |expected| over rows [tokens, vocabulary]; nan if one is not finite."""
    wide = expected.float()
    return float(((actual.float() - wide).norm(dim=-1) / wide.norm(dim=-1)).max())


def draft_width(times: Mapping[int, float]) -> int:
    """The longest draft that pays, 0 for none. times: seconds of a step by its number of tokens, 1 included.

    A draft of k tokens, each accepted with probability p, gives (1 - p^(k + 1)) / (1 - p) tokens per step (arXiv 2211.17192,
    equation 1), in the time of a step of k + 1. Of two that are as good the shorter wins; it leaves more room.
    """
    speeds = {count: (1 - _ACCEPTED**count) / (1 - _ACCEPTED) / seconds for count, seconds in sorted(times.items())}
    best = max(speeds, key=lambda count: speeds[count])
    return best - 1 if speeds[best] >= _GAIN * speeds[1] else 0


def _times(decoder: Decoder, fast: FastPath) -> dict[int, float]:
    """Seconds of a step of each size."""
    row = _prefilled(decoder)
    times = {}
    for count in BUCKETS:
        spent = []
        for _ in range(_TRIES):
            row.sequence.cut(_PREFILL)
            begin = time.perf_counter()
            fast.run([row.step(_ids(decoder, count, count))])
            spent.append(time.perf_counter() - begin)
        times[count] = median(spent)
    row.free()
    return times


def _prefilled(decoder: Decoder) -> Row:
    row = decoder.take(np.zeros(0, dtype=np.int64), "")
    decoder.forward([row.step(_ids(decoder, _PREFILL, 0))])
    return row


def _ids(decoder: Decoder, count: int, seed: int) -> list[int]:
    return torch.randint(decoder.vocabulary_size, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def _reason(error: Exception) -> str:
    """In a few words. Only our own messages are quoted: others could contain a prompt."""
    return str(error) if isinstance(error, Unfit) else type(error).__name__


def _log(error: Exception, what: str = "fast path off") -> None:
    traceback.print_tb(error.__traceback__)
    print(f"jupyter_mistral.engine: {what}: {_reason(error)}", file=sys.stderr, flush=True)
