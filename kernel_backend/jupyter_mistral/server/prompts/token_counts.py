"""How the tokens of a prompt are counted for a model: by its own files where they are here, else by asking where it runs."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.requests import ChatRequest
from ..inference.base import Target

if TYPE_CHECKING:
    from ...context import Counter, Given, Job
    from ...context.tokenizer.counts import Tokens

T = TypeVar("T")
KEPT = 16
# what lies beside a model of ours, with its chat template
OURS = "text_tokenizer.json"
# what the template adds to every message, and once, as long as the model is not there to be asked: rounded up
PER_MESSAGE, PER_PROMPT = 8, 40
PROBE = "word"


class Counting:
    """Counters of the latest models, which remember what they counted. Everything here runs in a thread beside the loop."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, Tokens] = OrderedDict()
        self._counters: OrderedDict[str, Counter] = OrderedDict()
        self._overheads: OrderedDict[tuple[str, ...], int] = OrderedDict()

    def given(
        self, job: Job, notebook: Mapping[str, Any] | None, target: Target, loop: asyncio.AbstractEventLoop
    ) -> Given:
        """The job with its notebook read, and the means to count what comes of it."""
        if folder := folder_of(target):
            tokens = self._of(folder)
            return job.given(notebook, tokens.count, lambda m: tokens.overhead(m, job.tools), tokens.image)
        counter = self._counter(target, loop)
        return job.given(
            notebook, counter, lambda m: self._overhead(m, target, counter, loop) + _called(m, job, counter)
        )

    def exactly(self, messages: Sequence[Message], job: Job, target: Target) -> int | None:
        """Tokens of the whole prompt, where that can be told."""
        folder = folder_of(target)
        return self._of(folder).prompt(messages, job.tools) if folder else None

    def image(self, image: Image, target: Target) -> int:
        """Tokens of a picture."""
        from ...context.notebook.pictures import estimate

        folder = folder_of(target)
        return self._of(folder).image(image) if folder else estimate(image)

    def _of(self, folder: str) -> Tokens:
        from ...context.tokenizer.counts import Tokens

        return remembered(self._tokens, folder, lambda: Tokens(Path(folder)))

    def _counter(self, target: Target, loop: asyncio.AbstractEventLoop) -> Counter:
        from ...context import Counter
        from ...context.tokenizer.counts import Tokens

        if target.tokenizer:
            path = Path(target.tokenizer)
            return remembered(self._tokens, target.tokenizer, lambda: Tokens(path)).count
        return remembered(self._counters, target.card.name, lambda: Counter(_count_by_asking(target, loop)))

    def _overhead(
        self, messages: Sequence[Message], target: Target, counter: Counter, loop: asyncio.AbstractEventLoop
    ) -> int:
        """Tokens that the template adds to messages of these roles; asks the model once for each sequence of roles."""
        if target.render is None:
            return PER_PROMPT + PER_MESSAGE * len(messages)
        roles = (target.card.name, *(message.role for message in messages))

        def ask() -> int:
            assert target.render is not None
            probes = [Message(message.role, (PROBE,)) for message in messages]
            whole = asyncio.run_coroutine_threadsafe(_rendered(target, probes), loop).result()
            return max(0, whole - len(probes) * counter([PROBE])[0])

        return remembered(self._overheads, roles, ask)


def is_exact(request: ChatRequest, target: Target) -> bool:
    """Whether the tokens of a request are counted: how a model elsewhere is told of functions is not known."""
    has_calls = bool(request.calling.tools) or any(message.tool_calls for message in request.messages)
    return target.is_exact and (not has_calls or folder_of(target) is not None)


def folder_of(target: Target) -> str | None:
    """The folder of a model of ours, whose files say all there is to count."""
    path = Path(target.tokenizer) if target.tokenizer else None
    return str(path.parent) if path is not None and path.name == OURS else None


def remembered(kept: OrderedDict[Any, T], key: Any, make: Callable[[], T]) -> T:
    """What is kept under a key, made where it is not there; the least recently used goes."""
    found = kept.get(key)
    if found is None:
        found = kept[key] = make()
    kept.move_to_end(key)
    if len(kept) > KEPT:
        kept.popitem(last=False)
    return found


def _count_by_asking(target: Target, loop: asyncio.AbstractEventLoop) -> Any:
    """Counts where the model runs, for one whose tokenizer is not here."""

    def count(texts: list[str]) -> list[int]:
        return asyncio.run_coroutine_threadsafe(_counted(target, texts), loop).result()

    return count


def _called(messages: Sequence[Message], job: Job, counter: Counter) -> int:
    """Tokens of the functions that may be called and of earlier calls, as JSON, which is about how templates write them."""
    calls = [call.to_dict() for message in messages for call in message.tool_calls]
    return sum(counter([json.dumps(one, ensure_ascii=False) for one in (*job.tools, *calls)]))


async def _counted(target: Target, texts: Sequence[str]) -> list[int]:
    counts = await target.count(texts)
    if len(counts) != len(texts):
        raise Failure("internal", "The model host counted wrongly.", "Ask again.")
    return counts


async def _rendered(target: Target, messages: Sequence[Message]) -> int:
    assert target.render is not None
    return await target.render(messages)
