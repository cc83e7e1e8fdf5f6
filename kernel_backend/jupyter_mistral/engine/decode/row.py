"""One request in the decoder: which tokens its sequence needs next, and what its scores become. Knows no text.

Its generators yield a `Need` where they cannot continue and are sent the scores. A finished request leaves its sequence, so
that the next one need not prefill their common prefix again; the prefix memory may know more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...protocol.events import Reading
from ..kv.prefix import PrefixMemory, common_length
from ..kv.sequence import BLOCK, Sequence
from ..prompt import Prompt, Units
from .prompt_lookup import Lookup
from .sampling import Sampler

_LEAST_TIMED = 64  # tokens; the speed of a shorter prefill says nothing about a long one
Allowed = Callable[[], torch.Tensor | None]


class Cancelled(Exception):
    """The request was cancelled between two forwards."""


@dataclass(frozen=True)
class Need:
    """`count` tokens to append to the row's sequence, and the scores [keep, vocabulary] of the last ones to be sent back.

    tokens: the ids of a decode step; empty in a prefill, which may contain images.
    """

    row: Row
    count: int
    keep: int
    embedded: Callable[[], torch.Tensor]
    tokens: tuple[int, ...] = ()

    @property
    def is_prefill(self) -> bool:
        return not self.tokens


class RowModel(Protocol):
    """What a row asks of the decoder."""

    memory: PrefixMemory | None
    speed: float

    @property
    def chunk(self) -> int: ...
    @property
    def image_token(self) -> int: ...
    def note_speed(self, speed: float) -> None: ...
    def embed(self, ids: Items[int]) -> torch.Tensor: ...
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor: ...


class Row:
    """A sequence and its tokens. One request at a time: `prefill` a prompt to its end, then take `tokens`."""

    def __init__(self, model: RowModel, sequence: Sequence) -> None:
        self._model, self.sequence = model, sequence
        self.units: Units = np.zeros(0, dtype=np.int64)
        self.salt = ""
        self.reused = 0  # cached tokens of the prompt
        self.scores: torch.Tensor | None = None
        self._encoded: dict[int, torch.Tensor] = {}

    # ------------------------------------------------------------------------------------------ prefill

    def prefill(
        self, prompt: Prompt, salt: str, room: int, check: Callable[[], None]
    ) -> Generator[Reading | Need, torch.Tensor]:
        """Prefill what is not cached, with room for `room` more tokens. `check` raises to stop; finished chunks stay."""
        units, total = prompt.units, len(prompt.ids)
        self.reused = reused = self._reuse(units, salt, total + room)
        self.units, self.salt, self._encoded = units, salt, {}
        yield Reading(reused, total, reused, self._eta(total - reused))
        start = reused
        while start < total:
            check()
            stop, began = min(start + self._model.chunk, total), time.monotonic()
            self.scores = (yield self._chunk(prompt, start, stop))[-1]
            if stop - start >= _LEAST_TIMED:
                self._model.note_speed((stop - start) / (time.monotonic() - began))
            start = stop
            yield Reading(stop, total, reused, self._eta(total - stop))
        check()

    def _chunk(self, prompt: Prompt, start: int, stop: int) -> Need:
        return Need(self, stop - start, 1, lambda: self._embedded(prompt, start, stop))

    def _eta(self, tokens: int) -> float | None:
        return tokens / self._model.speed if self._model.speed else None

    @torch.inference_mode()
    def _reuse(self, units: Units, salt: str, capacity: int) -> int:
        """Bring the sequence to the longest cached prefix of `units`, except the last unit, whose scores are needed."""
        limit, memory = len(units) - 1, self._model.memory
        own = min(common_length(self.units, units), self.sequence.length, limit) if salt == self.salt else 0
        keys = memory.keys(units[:limit], salt) if memory else []
        cached = memory.count_cached(keys) if memory else 0
        own = self.sequence.cut(own)
        self.sequence.reserve(capacity)
        first = own // BLOCK
        if memory and cached * BLOCK > own:
            self.sequence.cut(first * BLOCK)
            memory.restore(keys[first:cached], self.sequence)
        return self.sequence.length

    def _embedded(self, prompt: Prompt, start: int, stop: int) -> torch.Tensor:
        embedded = self._model.embed(prompt.ids[start:stop])
        for at, image in prompt.images:
            if at < stop and at + len(image.ids) > start:
                if at not in self._encoded:
                    self._encoded[at] = self._model.encode_image(image.pixels)
                positions = [at + i for i, token in enumerate(image.ids) if token == self._model.image_token]
                for row, position in enumerate(positions):
                    if start <= position < stop:
                        embedded[0, position - start] = self._encoded[at][row]
        return embedded

    # ------------------------------------------------------------------------------------------ decode

    def tokens(
        self, sampler: Sampler, allowed: Allowed, lookup: Lookup | None, check: Callable[[], None]
    ) -> Generator[int | Need, torch.Tensor]:
        """Tokens without end; the caller stops. With a `lookup` one forward may give several tokens: the same ones when
        greedy, equally likely ones when sampled."""
        assert self.scores is not None, "nothing was prefilled"
        token = sampler.sample(self.scores, allowed())
        while True:
            yield token
            check()
            draft: list[int] = []
            if lookup is not None:
                lookup.add(token)
                draft = lookup.draft()
            scores = yield self.step([token, *draft])
            accepted = 0
            while accepted < len(draft):
                token = sampler.verify(scores[accepted], draft[accepted], allowed())
                if token != draft[accepted]:
                    break
                yield token
                assert lookup is not None
                lookup.add(token)
                accepted += 1
            if accepted == len(draft):
                token = sampler.sample(scores[accepted], allowed())
            if lookup is not None and draft:
                self._remove_last(len(draft) - accepted)
                lookup.learn(len(draft), accepted)

    def step(self, tokens: list[int]) -> Need:
        self.units = np.append(self.units[: self.sequence.length], np.array(tokens, dtype=np.int64))
        return Need(self, len(tokens), len(tokens), lambda: self._model.embed(tokens), tuple(tokens))

    def _remove_last(self, tokens: int) -> None:
        length = self.sequence.length - tokens
        assert self.sequence.cut(length) == length, "a draft is never longer than what can be cut"
        self.units = self.units[:length]

    # ------------------------------------------------------------------------------------------ after a request

    def store_prefix(self) -> None:
        """Undo what a failed forward left behind, and store whole blocks in the prefix memory."""
        self.scores, self._encoded = None, {}
        length = self.sequence.cut(self.sequence.length)
        self.units = self.units[:length]
        if self._model.memory:
            self._model.memory.store(self._model.memory.keys(self.units, self.salt), self.sequence)

    def free(self) -> None:
        """Free the sequence's memory."""
        self.sequence.release()
        self.units = self.units[:0]
