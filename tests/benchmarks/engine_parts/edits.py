"""Prompt lookup on recorded edits of real cells (`edits.json`, whose source it names; made by `record_edits.py`).

Random weights cannot rewrite a cell. So the steps are real and take their real time, but the recorded cell decides which
drafts are accepted.
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
    """Replaces a `Sampler`: reads the scores as that does, and returns the recorded tokens."""

    def __init__(self, answer: list[int]) -> None:
        self._answer = iter(answer)

    def sample(self, scores: torch.Tensor, allowed: torch.Tensor | None = None) -> int:
        int(scores.argmax())
        return next(self._answer)

    def verify(self, scores: torch.Tensor, draft: int, allowed: torch.Tensor | None = None) -> int:
        return self.sample(scores)


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
    """Tokens, steps and seconds of rewriting a cell at the end of a prompt."""
    before, after = ([5 + token for token in edit[side]] for side in ("before", "after"))
    row = rows.begun(decoder, plan.shape, context_of(plan) + len(before), len(after) + 32, before)
    lookup = Lookup(row.units.tolist(), draft) if draft else None
    sampler: Any = Recorded([*after, *[0] * 32])  # the last draft may extend beyond the end
    begin = time.perf_counter()
    steps = _driven(decoder, row.tokens(sampler, lambda: None, lookup, lambda: None), len(after))
    seconds = time.perf_counter() - begin
    rows.end(decoder, [row])
    return len(after), steps, seconds


def _driven(decoder: Decoder, stream: Any, count: int) -> int:
    """The number of steps for `count` tokens."""
    steps = 0

    def tokens() -> Iterator[int]:
        nonlocal steps
        event = next(stream)
        while True:
            if isinstance(event, Need):
                steps += 1
                event = stream.send(decoder.forward([event])[0])
            else:
                yield event
                event = next(stream)

    assert len(list(islice(tokens(), count))) == count
    return steps
