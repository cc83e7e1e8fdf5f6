"""Counts the tokens of a prompt for a model: with its tokenizer files if they are on this machine, else by asking its engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.requests import ChatRequest
from ...tokenizer.text_tokenizer import TEXT_TOKENIZER
from ..inference.base import Target
from .recent import Recent

if TYPE_CHECKING:
    from ...context import Counter, Job, PromptInputs
    from ...context.token_counts import TokenCounter

PROBE = "word"


class TokenCounts:
    """Counters of the latest models, which cache their counts. Runs in a thread, not on the event loop."""

    def __init__(self) -> None:
        self._tokens: Recent[TokenCounter] = Recent()
        self._counters: Recent[Counter] = Recent()
        self._overheads: Recent[int] = Recent()

    def inputs(
        self, job: Job, notebook: Mapping[str, Any] | None, target: Target, loop: asyncio.AbstractEventLoop
    ) -> PromptInputs:
        """The job with its notebook and the functions that count its tokens."""
        if folder := folder_of(target):
            tokens = self._tokens_in(folder)
            return job.inputs(notebook, tokens.count, lambda m: tokens.overhead(m, job.tools), tokens.image)
        counter = self._counter(target, loop)
        return job.inputs(
            notebook, counter, lambda m: self._overhead(m, target, counter, loop) + _tool_tokens(m, job, counter)
        )

    def exact(self, messages: Sequence[Message], job: Job, target: Target) -> int | None:
        """Tokens of the whole prompt; None if they can only be estimated."""
        folder = folder_of(target)
        return self._tokens_in(folder).prompt(messages, job.tools) if folder else None

    def image(self, image: Image, target: Target) -> int:
        """Tokens of an image."""
        from ...tokenizer.image_tokens import estimate

        folder = folder_of(target)
        return self._tokens_in(folder).image(image) if folder else estimate(image)

    def _tokens_in(self, folder: str) -> TokenCounter:
        from ...context.token_counts import TokenCounter

        return self._tokens.get_or_make(folder, lambda: TokenCounter(Path(folder)))

    def _counter(self, target: Target, loop: asyncio.AbstractEventLoop) -> Counter:
        from ...context import Counter

        if target.tokenizer:
            return self._tokens_in(target.tokenizer).count
        return self._counters.get_or_make(target.card.name, lambda: Counter(_count_by_engine(target, loop)))

    def _overhead(
        self, messages: Sequence[Message], target: Target, counter: Counter, loop: asyncio.AbstractEventLoop
    ) -> int:
        """Tokens that the chat template adds to messages with these roles; asks the engine once per sequence of roles."""
        if target.render is None:
            from ...context.token_counts import estimated_overhead

            return estimated_overhead(messages)
        roles = (target.card.name, *(message.role for message in messages))

        def measure() -> int:
            assert target.render is not None
            probes = [Message(message.role, (PROBE,)) for message in messages]
            total = asyncio.run_coroutine_threadsafe(_render(target, probes), loop).result()
            return max(0, total - len(probes) * counter([PROBE])[0])

        return self._overheads.get_or_make(roles, measure)


def is_exact(request: ChatRequest, target: Target) -> bool:
    """Whether a request's tokens are counted, not estimated: an external engine does not say how it renders tools."""
    has_calls = bool(request.calling.tools) or any(message.tool_calls for message in request.messages)
    return target.is_exact and (not has_calls or folder_of(target) is not None)


def folder_of(target: Target) -> str | None:
    """The folder of a model that was quantized here, whose files suffice to count everything; else None."""
    path = Path(target.tokenizer) if target.tokenizer else None
    return str(path.parent) if path is not None and path.name == TEXT_TOKENIZER else None


def _count_by_engine(target: Target, loop: asyncio.AbstractEventLoop) -> Callable[[list[str]], list[int]]:
    def count(texts: list[str]) -> list[int]:
        return asyncio.run_coroutine_threadsafe(_count(target, texts), loop).result()

    return count


def _tool_tokens(messages: Sequence[Message], job: Job, counter: Counter) -> int:
    """Tokens of the available tools and of earlier calls as JSON, which is about how chat templates write them."""
    calls = [call.to_dict() for message in messages for call in message.tool_calls]
    return sum(counter([json.dumps(one, ensure_ascii=False) for one in (*job.tools, *calls)]))


async def _count(target: Target, texts: Sequence[str]) -> list[int]:
    counts = await target.count(texts)
    if len(counts) != len(texts):
        raise Failure("internal", "The model engine returned a wrong number of token counts.", "Try again.")
    return counts


async def _render(target: Target, messages: Sequence[Message]) -> int:
    assert target.render is not None
    return await target.render(messages)
