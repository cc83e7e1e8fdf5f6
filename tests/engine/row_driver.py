"""Runs one request on a decoder of this process, without worker and schedule."""

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
    """What a row's generator gives, its needs met one by one, as if nobody else were there."""
    found = next(part, None)
    while found is not None:
        if not isinstance(found, Need):
            yield found
            found = next(part, None)
            continue
        try:
            found = part.send(decoder.forward([found])[0])
        except StopIteration:
            return


def answer(decoder: Decoder, ids: list[int], lookup: bool | Lookup = False, tokens: int = 24) -> Answer:
    """Greedy tokens, the scores of the first, and the reused tokens. lookup: who guesses; True: the usual one."""
    prompt = Prompt(ids)
    row = decoder.take(prompt.units, "")
    readings = list(drive(decoder, row.prefill(prompt, "", tokens, lambda: None)))
    assert row.scores is not None
    scores = row.scores.clone()
    sampler = Sampler(Sampling(temperature=0), decoder.device)
    guesser = lookup if isinstance(lookup, Lookup) else Lookup(ids) if lookup else None
    found = row.tokens(sampler, lambda: None, guesser, lambda: None)
    out = list(islice(drive(decoder, found), tokens))
    decoder.give_back(row)
    return out, scores, readings[0].reused
