"""One request's side of decoding: which tokens its sequence needs next, and what is done with their scores. Knows no text.

Its generators yield a `Need` where they cannot go on; they are sent the need's scores. The sequence of a request that has
ended stays: its common start with the next one is not read again. What it does not hold may come out of the prefix memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...protocol.events import Reading
from ..kv.prefix import common
from ..kv.sequence import BLOCK, Sequence
from .prompt import Prompt, Units
from .prompt_lookup import Lookup
from .sampling import Chooser

if TYPE_CHECKING:
    from .decoder import Decoder

_TELLING = 64  # tokens; the speed of a shorter read says nothing about a long one
Allowed = Callable[[], torch.Tensor | None]


class Cancelled(Exception):
    """The request was cancelled between two forwards."""


@dataclass(frozen=True)
class Need:
    """`count` tokens to append to the row's sequence; the scores [keep, vocabulary] of the last ones are wanted. tokens: their
    ids, where it is an answer that goes on; empty while a prompt is read, which may have pictures in it."""

    row: Row
    count: int
    keep: int
    embedded: Callable[[], torch.Tensor]
    tokens: tuple[int, ...] = ()

    @property
    def is_reading(self) -> bool:
        return not self.tokens


class Row:
    """A sequence and what stands in it. One request at a time: `read` a prompt to its end, then take `tokens`."""

    def __init__(self, decoder: Decoder, sequence: Sequence) -> None:
        self._decoder, self.sequence = decoder, sequence
        self.units: Units = np.zeros(0, dtype=np.int64)
        self.salt = ""
        self.reused = 0  # tokens of the prompt that did not have to be read
        self.scores: torch.Tensor | None = None
        self._seen: dict[int, torch.Tensor] = {}

    # ------------------------------------------------------------------------------------------ reading

    def read(
        self, prompt: Prompt, salt: str, room: int, check: Callable[[], None]
    ) -> Generator[Reading | Need, torch.Tensor]:
        """Read what is not known yet, `room` more tokens to come. `check` raises to stop; what was read stays known."""
        units, total = prompt.units, len(prompt.ids)
        self.reused = reused = self._reuse(units, salt, total + room)
        self.units, self.salt, self._seen = units, salt, {}
        yield Reading(reused, total, reused, self._eta(total - reused))
        start = reused
        while start < total:
            check()
            stop, began = min(start + self._decoder.chunk, total), time.monotonic()
            self.scores = (yield self._to_read(prompt, start, stop))[-1]
            if stop - start >= _TELLING:
                self._decoder.note_speed((stop - start) / (time.monotonic() - began))
            start = stop
            yield Reading(stop, total, reused, self._eta(total - stop))
        check()

    def _to_read(self, prompt: Prompt, start: int, stop: int) -> Need:
        return Need(self, stop - start, 1, lambda: self._embedded(prompt, start, stop))

    def _eta(self, tokens: int) -> float | None:
        return tokens / self._decoder.speed if self._decoder.speed else None

    @torch.inference_mode()
    def _reuse(self, units: Units, salt: str, wanted: int) -> int:
        """Bring the sequence to the longest known start of `units`, short of the last, whose scores are needed."""
        limit, memory = len(units) - 1, self._decoder.memory
        own = min(common(self.units, units), self.sequence.length, limit) if salt == self.salt else 0
        keys = memory.keys(units[:limit], salt) if memory else []
        known = memory.known(keys) if memory else 0
        own = self.sequence.cut(own)
        self.sequence.reserve(wanted)
        first = own // BLOCK
        if memory and known * BLOCK > own:
            self.sequence.cut(first * BLOCK)
            memory.restore(keys[first:known], self.sequence)
        return self.sequence.length

    def _embedded(self, prompt: Prompt, start: int, stop: int) -> torch.Tensor:
        embedded = self._decoder.embed(prompt.ids[start:stop])
        for at, picture in prompt.pictures:
            if at < stop and at + len(picture.ids) > start:
                if at not in self._seen:
                    self._seen[at] = self._decoder.look(picture.pixels)
                marks = [at + i for i, token in enumerate(picture.ids) if token == self._decoder.image_token]
                for row, place in enumerate(marks):
                    if start <= place < stop:
                        embedded[0, place - start] = self._seen[at][row]
        return embedded

    # ------------------------------------------------------------------------------------------ decoding

    def tokens(
        self, chooser: Chooser, allowed: Allowed, lookup: Lookup | None, check: Callable[[], None]
    ) -> Generator[int | Need, torch.Tensor]:
        """Tokens without end; whoever takes them stops. With a `lookup` several come out of one forward: the same ones
        under greedy, as likely ones where they are drawn."""
        assert self.scores is not None, "nothing was read"
        token = chooser.choose(self.scores, allowed())
        while True:
            yield token
            check()
            draft: list[int] = []
            if lookup is not None:
                lookup.add(token)
                draft = lookup.draft()
            scores = yield self.step([token, *draft])
            right = 0
            while right < len(draft):
                token = chooser.verify(scores[right], draft[right], allowed())
                if token != draft[right]:
                    break
                yield token
                assert lookup is not None
                lookup.add(token)
                right += 1
            if right == len(draft):
                token = chooser.choose(scores[right], allowed())
            if lookup is not None and draft:
                self._forget(len(draft) - right)
                lookup.learn(len(draft), right)

    def step(self, tokens: list[int]) -> Need:
        self.units = np.append(self.units[: self.sequence.length], np.array(tokens, dtype=np.int64))
        return Need(self, len(tokens), len(tokens), lambda: self._decoder.embed(tokens), tuple(tokens))

    def _forget(self, tokens: int) -> None:
        wanted = self.sequence.length - tokens
        assert self.sequence.cut(wanted) == wanted, "a draft is shorter than what can be taken back"
        self.units = self.units[:wanted]

    # ------------------------------------------------------------------------------------------ after a request

    def settle(self) -> None:
        """Take back what a forward that broke off has left, and note what is known."""
        self.scores, self._seen = None, {}
        length = self.sequence.cut(self.sequence.length)
        self.units = self.units[:length]
        if self._decoder.memory:
            self._decoder.memory.keep(self._decoder.memory.keys(self.units, self.salt), self.sequence)

    def drop(self) -> None:
        """Give the sequence's memory back."""
        self.sequence.release()
        self.units = self.units[:0]
