"""Tokens of a model elsewhere: by a tokenizer on this machine, by the engine where it runs on this machine, else estimated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ...protocol.conversation import Message
from ..inference.base import Target
from . import capabilities
from .capabilities import Facts
from .http import Gone, Refused, Upstream

AT_ONCE = 8


class Counts:
    """Text that is only counted, perhaps to be left out, stays on this machine: a tokenizer on another one is not asked."""

    def __init__(self, upstream: Upstream, tokenizer: str) -> None:
        self._upstream = upstream
        self._slots = asyncio.Semaphore(AT_ONCE)
        path = Path(tokenizer).expanduser() if tokenizer else None
        # the package that reads the file comes with [engine], which this mode does not need
        is_usable = path is not None and path.is_file() and find_spec("tokenizers") is not None
        self._tokenizer = str(path) if is_usable else None

    def is_exact(self, known: Facts) -> bool:
        return self._tokenizer is not None or self._asks(known)

    def _asks(self, known: Facts) -> bool:
        return known.tokenize and self._upstream.address.is_here

    async def text(self, known: Facts, text: str) -> int:
        """Tokens of one text, by the engine or estimated."""
        if not text or not self._asks(known):
            return estimate(text)
        async with self._slots:
            try:
                return await capabilities.count(self._upstream, known.kind, known.card.name, text)
            except (Refused, Gone, KeyError, TypeError, ValueError):
                return estimate(text)

    def target(self, known: Facts) -> Target:
        async def count(texts: Sequence[str]) -> list[int]:
            return list(await asyncio.gather(*(self.text(known, text) for text in texts)))

        async def render(messages: Sequence[Message]) -> int:
            told = [message.to_dict() for message in messages]  # probes of ours, never the user's words
            return await capabilities.render(self._upstream, known.kind, known.card.name, told)

        is_exact = self.is_exact(known)
        return Target(known.card, self._tokenizer, count, render if known.tokenize else None, is_exact)


def estimate(text: str) -> int:
    """Tokens of a text whose tokenizer is not known: three bytes each, which is rather too many than too few."""
    return -(-len(text.encode("utf-8", "replace")) // 3)
