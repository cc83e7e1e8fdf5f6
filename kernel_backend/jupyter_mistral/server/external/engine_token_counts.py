"""Counts tokens for an external engine: with a local tokenizer, by asking an engine on this machine, or as an estimate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ...protocol.conversation import Message
from ..inference.base import Target
from . import tokenize_api
from .capabilities import ServedModel
from .http import ErrorReply, Unreachable, Upstream

MAX_PARALLEL = 8


class ExternalCounts:
    """Never sends text to another machine only to count it: that text may not even get into the prompt."""

    def __init__(self, upstream: Upstream, tokenizer: str) -> None:
        self._upstream = upstream
        self._slots = asyncio.Semaphore(MAX_PARALLEL)
        path = Path(tokenizer).expanduser() if tokenizer else None
        # `tokenizers` comes with [engine], which an external engine does not need
        is_usable = path is not None and path.is_file() and find_spec("tokenizers") is not None
        self._tokenizer = str(path) if is_usable else None

    def is_exact(self, served: ServedModel) -> bool:
        return self._tokenizer is not None or self._asks_engine(served)

    def _asks_engine(self, served: ServedModel) -> bool:
        return served.can_tokenize and self._upstream.address.is_local

    async def text(self, served: ServedModel, text: str) -> int:
        """Tokens of a text, counted by the engine or estimated."""
        if not text or not self._asks_engine(served):
            return estimate(text)
        async with self._slots:
            try:
                return await tokenize_api.count(self._upstream, served.kind, served.card.name, text)
            except (ErrorReply, Unreachable, KeyError, TypeError, ValueError):
                return estimate(text)

    def target(self, served: ServedModel) -> Target:
        async def count(texts: Sequence[str]) -> list[int]:
            return list(await asyncio.gather(*(self.text(served, text) for text in texts)))

        async def render(messages: Sequence[Message]) -> int:
            probes = [message.to_dict() for message in messages]  # never the user's text
            return await tokenize_api.render(self._upstream, served.kind, served.card.name, probes)

        is_exact = self.is_exact(served)
        return Target(served.card, self._tokenizer, count, render if served.can_tokenize else None, is_exact)


def estimate(text: str) -> int:
    """Tokens of a text if the tokenizer is unknown: one per three bytes, which is rather too many than too few."""
    return -(-len(text.encode("utf-8", "replace")) // 3)
