"""A fast path over a small model, one that fails on demand, and a decoder that records forwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.row import Row
from jupyter_mistral.engine.fast.choose import FastPath
from jupyter_mistral.engine.fast.ops import Reference
from jupyter_mistral.engine.fast.step import FastModel
from tiny_llama import ids

PROMPT = ids(70)


class Broken(Reference):
    """Fails at the n-th silu_mul; 0: never."""

    def __init__(self, at: int = 0, error: type[Exception] = RuntimeError) -> None:
        self.calls, self.at, self.error = 0, at, error

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        self.calls += 1
        if self.calls == self.at:
            raise self.error("-".join(["what", "was", "asked"]))
        return Reference.silu_mul(gate_up)


def fast_of(model: Any, ops: Any = None, kv: str = "bf16") -> FastPath:
    return FastPath(lambda: FastModel(model, ops or Reference()), kv)


def rows_of(decoder: Decoder, *lengths: int) -> list[Row]:
    rows = [decoder.take(np.zeros(0, dtype=np.int64), "") for _ in lengths]
    for row, length in zip(rows, lengths, strict=True):
        decoder.forward([row.step(PROMPT[:length])])
    return rows


class Counted(Decoder):
    """Records the tokens of each forward of the model itself."""

    def _run_model(self, needs: Any) -> list[torch.Tensor]:
        self.counts = [*getattr(self, "counts", []), [need.count for need in needs]]
        return super()._run_model(needs)
