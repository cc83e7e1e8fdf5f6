"""Rows of our decoder in the middle of an answer, and how fast they continue."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.row import Need, Row
from jupyter_mistral.engine.decode.sampling import Sampler
from jupyter_mistral.engine.kv.sequence import BLOCK
from jupyter_mistral.engine.kv.sequence import Sequence as KeysAndValues
from jupyter_mistral.engine.prompt import Prompt
from jupyter_mistral.protocol.requests import Sampling
from row_driver import drive

from .shapes import Shape

_READ = 1024  # tokens of a context that are really prefilled; those before are random keys and values


def ids(shape: Shape, count: int, seed: int = 0) -> list[int]:
    """Tokens in an order that the model does not predict, none of them frequent."""
    return [(n * 7919 + seed * 104729) % (shape.vocabulary - 10) + 5 for n in range(count)]


def begun(decoder: Decoder, shape: Shape, context: int, room: int, tail: Sequence[int] = ()) -> Row:
    """A row with `context` tokens, ending with `tail`, and the scores of the next. room: tokens to follow."""
    row = decoder.take(np.zeros(0, dtype=np.int64), "")
    row.free()
    filled = max(0, context - _READ) // BLOCK * BLOCK
    if filled:
        with torch.inference_mode():
            _fill(row.sequence, shape, filled, context + room, decoder.device)
        row.units = np.zeros(filled, dtype=np.int64)
    prompt = Prompt([0] * filled + ids(shape, context - filled - len(tail)) + list(tail))
    for _ in drive(decoder, row.prefill(prompt, "", room, lambda: None)):
        pass
    return row


def _fill(sequence: KeysAndValues, shape: Shape, tokens: int, wanted: int, device: torch.device) -> None:
    sequence.reserve(wanted)
    for layer in sequence.layers:
        pair = torch.randn(2, 1, shape.kv_heads, BLOCK, shape.size, dtype=torch.bfloat16, device=device)
        for _ in layer.append_tokens(pair[0], pair[1]):
            pass
        block = layer.copy_out(0).clone()
        layer.cut(0)
        for _ in range(tokens // BLOCK):
            layer.copy_in(block)


def stream(row: Row, decoder: Decoder) -> Iterator[Any]:
    """Greedy tokens and needs, without end."""
    return row.tokens(Sampler(Sampling(temperature=0), decoder.device), lambda: None, None, lambda: None)


def step_seconds(decoder: Decoder, rows: Sequence[Row], steps: int) -> float:
    """Seconds of one greedy step of all these rows together, after a warm-up."""
    streams: list[Any] = [stream(row, decoder) for row in rows]
    needs = [next(need for need in islice(one, 2) if isinstance(need, Need)) for one in streams]
    for n in range(3 + steps):
        if n == 3:
            begin = time.perf_counter()
        for at, scores in enumerate(decoder.forward(needs)):
            streams[at].send(scores)
            needs[at] = next(streams[at])
    return (time.perf_counter() - begin) / steps


def end(decoder: Decoder, rows: Sequence[Row]) -> None:
    """Free their memory."""
    for row in rows:
        row.free()
        decoder.give_back(row)
