"""Prompt lookup on recorded edits of real cells (`edits.json`, whose source it names; made by `record_edits.py`).

Random weights cannot rewrite a cell. So the steps are ours and cost what they cost, but which guesses are right is decided
by the recorded cell.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.decode.row import Need

from . import rows
from .decoding import checked, context_of, ours
from .sections import Figures, Plan, Report

_FILE = Path(__file__).with_name("edits.json")


class Recorded:
    """Stands for a `Sampler`: looks at the scores as that does, and says what was recorded."""

    def __init__(self, answer: list[int]) -> None:
        self._answer = iter(answer)

    def choose(self, scores: torch.Tensor, allowed: torch.Tensor | None = None) -> int:
        int(scores.argmax())
        return next(self._answer)

    def verify(self, scores: torch.Tensor, draft: int, allowed: torch.Tensor | None = None) -> int:
        return self.choose(scores)


def measure(plan: Plan, tell: Report) -> None:
    edits = json.loads(_FILE.read_text())["edits"][: 1 if plan.is_tiny else None]
    decoder = ours(plan)
    for draft in (0, 3, 7, 15):
        tell(
            f"draft of {draft}" if draft else "no lookup",
            _replayed(plan, decoder, edits if draft else edits[:4], draft),
        )
    checked(decoder)


def _replayed(plan: Plan, decoder: Decoder, edits: list[dict[str, Any]], draft: int) -> Figures:
    _cell(plan, decoder, edits[0], draft)  # warms up
    found = [_cell(plan, decoder, edit, draft) for edit in edits]
    tokens, steps, seconds = (sum(column) for column in zip(*found, strict=True))
    return {"tokens/s": round(tokens / seconds, 1), "tokens a step": round(tokens / steps, 2), "edits": len(edits)}


def _cell(plan: Plan, decoder: Decoder, edit: dict[str, Any], draft: int) -> tuple[int, int, float]:
    """Tokens, steps and seconds of writing it anew, at the end of a prompt."""
    before, after = ([5 + token for token in edit[side]] for side in ("before", "after"))
    row = rows.begun(decoder, plan.shape, context_of(plan) + len(before), len(after) + 32, before)
    lookup = Lookup(row.units.tolist(), draft) if draft else None
    sampler: Any = Recorded([*after, *[0] * 32])  # the last draft may reach beyond the end
    begin = time.perf_counter()
    steps = _driven(decoder, row.tokens(sampler, lambda: None, lookup, lambda: None), len(after))
    seconds = time.perf_counter() - begin
    rows.end(decoder, [row])
    return len(after), steps, seconds


def _driven(decoder: Decoder, stream: Any, count: int) -> int:
    """Steps that so many tokens took."""
    steps = 0

    def tokens() -> Iterator[int]:
        nonlocal steps
        found = next(stream)
        while True:
            if isinstance(found, Need):
                steps += 1
                found = stream.send(decoder.forward([found])[0])
            else:
                yield found
                found = next(stream)

    assert len(list(islice(tokens(), count))) == count
    return steps
