"""Runs one request on a decoder in this process, without worker and schedule."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.decode.row import Need
from jupyter_mistral.engine.decode.sampling import Sampler
from jupyter_mistral.engine.prompt import Prompt
from jupyter_mistral.protocol.requests import Sampling

Answer = tuple[list[int], torch.Tensor, int]


def drive(decoder: Decoder, part: Any) -> Iterator[Any]:
    """The values of a row's generator, with each `Need` answered by a forward of its own."""
    event = next(part, None)
    while event is not None:
        if not isinstance(event, Need):
            yield event
            event = next(part, None)
            continue
        try:
            event = part.send(decoder.forward([event])[0])
        except StopIteration:
            return


def answer(decoder: Decoder, ids: list[int], lookup: bool | Lookup = False, tokens: int = 24) -> Answer:
    """Greedy tokens, the scores of the first, and the number of cached tokens. lookup: who drafts; True: the default."""
    prompt = Prompt(ids)
    row = decoder.take(prompt.units, "")
    readings = list(drive(decoder, row.prefill(prompt, "", tokens, lambda: None)))
    assert row.scores is not None
    scores = row.scores.clone()
    sampler = Sampler(Sampling(temperature=0), decoder.device)
    drafter = lookup if isinstance(lookup, Lookup) else Lookup(ids) if lookup else None
    stream = row.tokens(sampler, lambda: None, drafter, lambda: None)
    out = list(islice(drive(decoder, stream), tokens))
    decoder.give_back(row)
    return out, scores, readings[0].reused
