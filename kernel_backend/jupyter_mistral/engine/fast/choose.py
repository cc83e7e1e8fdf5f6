"""Whether a model's steps take the fast path: asked for, fit, tried out on this device, and not failed since.

Whatever speaks against it becomes a reason that is told; the ordinary path serves instead. Knows no text.
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
from ..load import memory
from . import ops
from .graph import BUCKETS, MOST, Direct, Graphs, Steps
from .nf4 import Unfit
from .slots import Slots
from .step import FastModel
from .tuning import Tune, tuned

WISH = "JUPYTER_MISTRAL_DECODE"
HEAD = "JUPYTER_MISTRAL_HEAD"  # int8 takes half of the head's bytes on the fast path
WISHES = ("auto", "triton", "reference", "off")
# of |fast - ordinary| / |ordinary|, over the scores of a token: both round to 16 bit after each of hundreds of matrices. Found
# with the reference over 256 tokens: up to 0.02 with Qwen 2.5 Coder 0.5B, 0.12 at one token of SmolLM2 135M, mostly 0.01
BOUND = 0.25
# share of drafted tokens that are right, where something is to be looked up at all
_RIGHT = 0.75
_GAIN = 1.1  # what a draft must promise before it is made
_READ, _TRIES = 97, 5  # tokens read before the check: with one step of each size a block of 64 is filled up


class Fast:
    """The fast path of one decoder. Pauses while the weights are elsewhere or others are in use; a failure ends it for good."""

    def __init__(self, build: Callable[[], FastModel], kv: str, draft: int = MOST - 1) -> None:
        """draft: tokens of a guess that its steps verify gladly. Raises `Unfit`."""
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
        """Sizes of steps that are ready."""
        return self._steps.recorded if self._steps else []

    @torch.inference_mode()
    def run(self, needs: Sequence[Need]) -> dict[int, torch.Tensor]:
        """Scores of those needs that steps can meet here, by their place; none where one is reading, for it takes the
        others along. After a failure nothing has changed and none is met; raises where that cannot be."""
        if not self.is_on or any(not need.tokens for need in needs):
            return {}
        before = [need.row.sequence.length for need in needs]
        try:
            found: dict[int, torch.Tensor] = {}
            for group in _groups(needs):
                found |= self._step(group)
            if self._is_cuda:
                torch.cuda.synchronize()
            return found
        except Exception as error:
            if memory.is_out_of_memory(error):  # the ordinary path would need no less
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
        return {place: part[-need.keep :] for (place, need), part in zip(group, parts, strict=True)}

    def tune(self, tune: Tune) -> None:
        """Choose how matrices in 4 bit are cut, before the first step; by rule where that fails. The log says which way."""
        assert self._model is not None and not self.recorded
        try:
            for (rows, columns, _), cut in tuned(self._model.matrices, tune):
                print(f"jupyter_mistral.engine: {rows} x {columns} in 4 bit: {cut}", file=sys.stderr, flush=True)
        except Exception as error:  # a compiler or a device; the rule's cuts are tried out next
            _log(error, "cuts by rule")

    # ------------------------------------------------------------------------------------------ pauses

    def pause(self, why: str, keeps_weights: bool = True) -> None:
        """Take the ordinary path until `resume`; recordings are dropped, and where the weights move, the hold on them."""
        self._paused.add(why)
        self._drop()
        if not keeps_weights:
            self._model = None

    def resume(self, why: str) -> None:
        self._paused.discard(why)
        if self._model is None and not self._paused and not self.failure:
            try:
                self._model = self._build()
            except Exception as error:  # the ordinary path needs nothing of this
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = _named(error)
        self._drop()
        self._model = None
        _log(error)

    def _drop(self) -> None:
        if self._steps is not None:
            self._steps.release()
            self._steps = None


def _groups(needs: Sequence[Need]) -> list[list[tuple[int, Need]]]:
    """Needs that fit into a step each, with their places; those that fit into none are left out."""
    groups: list[list[tuple[int, Need]]] = []
    room = 0
    for place, need in enumerate(needs):
        if need.count > MOST or not Slots.fits([(need.row.sequence, need.count)]):
            continue
        if not groups or need.count > room:
            groups.append([])
            room = MOST
        groups[-1].append((place, need))
        room -= need.count
    return groups


# ---------------------------------------------------------------------------------------------- at load


def fast_path(model: Any, kv: str, wish: str, tune: Tune | None = None) -> tuple[Fast | None, str]:
    """The fast path of a model whose sequences are of this kind of keys and values, or why there is none ("": nobody asked).

    To be called before the model's first forward (`FastModel`). wish: auto (triton on CUDA, else off), triton, reference or off.
    tune: chooses how matrices are cut; by default Triton's kernels are timed where they are compiled.
    """
    if wish not in WISHES:
        return None, f"{WISH}={wish} is none of {', '.join(WISHES)}"
    is_cuda = model.device.type == "cuda"
    if wish == "off" or (wish == "auto" and not is_cuda):
        return None, ""
    try:
        chosen = ops.Reference() if wish == "reference" else ops.triton()
        decoder = Decoder(model, MOST * MOST, None, kv)
        if not decoder.is_packing:
            raise Unfit("its attention is not ours")
        fast = Fast(lambda: FastModel(model, chosen, os.environ.get(HEAD, "bf16")), kv)
        if tune is None and wish != "reference":
            tune = ops.tuner(model.device)
        if tune is not None:
            fast.tune(tune)
        reason = differs(decoder, fast)
        if not reason and is_cuda:
            fast.draft = draft_width(_times(decoder, fast))
    except Exception as error:  # a model, a machine or a compiler that does not play along must not cost the model
        if memory.is_out_of_memory(error):
            raise
        if not isinstance(error, Unfit):
            _log(error)
        return None, _named(error)
    return (None, reason) if reason else (fast, "")


def differs(decoder: Decoder, fast: Fast) -> str:
    """Why the two paths do not give the same scores, else ""; a step of each size, and one over a block that became whole."""
    known, tried = _read(decoder), _read(decoder)
    for count in (*BUCKETS, 1):
        ids = _ids(decoder, count, count)
        [want] = decoder.forward([known.step(ids)])
        found = fast.run([tried.step(ids)]).get(0)
        if found is None:
            return fast.failure or f"a step of {count} tokens was not taken"
        error = relative_error(found, want)
        if not error <= BOUND:  # also where it is not a number
            return f"its scores are off by {error:.2g} in a step of {count}"
    for row in (known, tried):
        row.drop()
    return ""


def relative_error(found: torch.Tensor, want: torch.Tensor) -> float:
    """The largest of |found - want| / |want| over rows [tokens, vocabulary]; nan where one is not finite."""
    wide = want.float()
    return float(((found.float() - wide).norm(dim=-1) / wide.norm(dim=-1)).max())


def draft_width(times: Mapping[int, float]) -> int:
    """The longest draft that pays, 0 for none. times: seconds of a step by its tokens; 1 is among them.

    A draft of k tokens of which each is right with chance p gives (1 - p^(k + 1)) / (1 - p) tokens a step (arXiv
    2211.17192, equation 1), for the time of a step of k + 1. Where two are as good, the shorter one leaves more room.
    """
    speeds = {count: (1 - _RIGHT**count) / (1 - _RIGHT) / seconds for count, seconds in sorted(times.items())}
    best = max(speeds, key=lambda count: speeds[count])
    return best - 1 if speeds[best] >= _GAIN * speeds[1] else 0


def _times(decoder: Decoder, fast: Fast) -> dict[int, float]:
    """Seconds of a step of each size."""
    row = _read(decoder)
    found = {}
    for count in BUCKETS:
        spent = []
        for _ in range(_TRIES):
            row.sequence.cut(_READ)
            begin = time.perf_counter()
            fast.run([row.step(_ids(decoder, count, count))])
            spent.append(time.perf_counter() - begin)
        found[count] = median(spent)
    row.drop()
    return found


def _read(decoder: Decoder) -> Row:
    row = decoder.take(np.zeros(0, dtype=np.int64), "")
    decoder.forward([row.step(_ids(decoder, _READ, 0))])
    return row


def _ids(decoder: Decoder, count: int, seed: int) -> list[int]:
    return torch.randint(decoder.words, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def _named(error: Exception) -> str:
    """In a few words. At run time the message could quote a prompt, so that only what is ours is told."""
    return str(error) if isinstance(error, Unfit) else type(error).__name__


def _log(error: Exception, what: str = "fast path off") -> None:
    traceback.print_tb(error.__traceback__)
    print(f"jupyter_mistral.engine: {what}: {_named(error)}", file=sys.stderr, flush=True)
