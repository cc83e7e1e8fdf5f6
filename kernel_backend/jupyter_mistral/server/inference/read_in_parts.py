"""Answers a request, on demand by reading the whole notebook in parts: the model takes notes on each, then answers from the notes.

The engine gets one prompt after the other; closing the stream cancels the one that runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ...protocol.conversation import Message
from ...protocol.events import Delta, End, Event, Reading, Usage
from ...protocol.requests import Calling, ChatRequest, Form, Sampling
from .base import Prompter, Target

if TYPE_CHECKING:
    from ...context import Built, Note, Plan, Window

# how often notes that do not fit are condensed before they are cut
MAX_ROUNDS = 3
Send: TypeAlias = Callable[[ChatRequest, Sequence[Message]], AsyncGenerator[Event, None]]


async def answered(request: ChatRequest, target: Target, prompter: Prompter, send: Send) -> AsyncGenerator[Event, None]:
    """Yield events up to the `End`. send: runs a request on the model with the messages to send instead of its own."""
    plan = await prompter.plan(request, target) if request.extras.thorough else None
    if plan is not None:
        async with contextlib.aclosing(_ReadInParts(request, target, prompter, send).answer(plan)) as events:
            async for event in events:
                yield event
        return
    messages, left_out = await prompter.prompt(request, target)
    async with contextlib.aclosing(send(request, messages)) as events:
        async for event in events:
            yield _with_usage(event, left_out=left_out) if left_out else event


def _with_usage(event: Event, **more: Any) -> Event:
    return replace(event, usage=replace(event.usage, **more)) if isinstance(event, End) else event


@dataclass
class _PartsUsage:
    """What the parts cost in total."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    energy_j: float = 0.0

    def add(self, cells: str, notes: str, usage: Usage) -> None:
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.completion_tokens += usage.completion_tokens
        self.energy_j += usage.energy_j or 0.0
        counts = {"prompt_tokens": usage.prompt_tokens, "cached_tokens": usage.cached_tokens}
        self.rows.append({"cells": cells, "notes": notes, **counts})

    def added_to(self, usage: Usage) -> Usage:
        return replace(
            usage,
            prompt_tokens=usage.prompt_tokens + self.prompt_tokens,
            completion_tokens=usage.completion_tokens + self.completion_tokens,
            cached_tokens=usage.cached_tokens + self.cached_tokens,
            energy_j=None if usage.energy_j is None else round(usage.energy_j + self.energy_j, 3),
            parts=tuple(self.rows),
        )


class _ReadInParts:
    def __init__(self, request: ChatRequest, target: Target, prompter: Prompter, send: Send) -> None:
        self._request, self._target, self._prompter, self._send = request, target, prompter, send
        self._usage = _PartsUsage()
        self._started = time.monotonic()

    async def answer(self, plan: Plan) -> AsyncGenerator[Event, None]:
        notes: list[Note] = []
        async for event in self._take_notes(plan, notes):
            yield event
        rounds = 0
        while (built := await self._combine(notes, rounds)) is None:
            shorter: list[Note] = []
            condensing = await self._prompter.condense(self._request, self._target, notes)
            async for event in self._take_notes(condensing, shorter):
                # progress counts the notebook's parts; condensing only shows that something happens
                yield replace(event, part=0, parts=0) if isinstance(event, Reading) else event
            notes, rounds = shorter, rounds + 1
        left_out = (*plan.left_out, *built.left_out)
        first_s: float | None = None
        async with contextlib.aclosing(self._send(self._request, built.messages)) as events:
            async for event in events:
                if first_s is None and isinstance(event, Delta):
                    first_s = time.monotonic() - self._started
                yield self._end(event, left_out, first_s) if isinstance(event, End) else event

    async def _combine(self, notes: list[Note], rounds: int) -> Built | None:
        return await self._prompter.combine(self._request, self._target, notes, rounds == MAX_ROUNDS)

    async def _take_notes(self, plan: Plan, notes: list[Note]) -> AsyncGenerator[Event, None]:
        """Have the model read each window and append its notes to `notes`; yields progress over all windows."""
        from ...context import Note

        done = reused = 0
        began = time.monotonic()
        for i, window in enumerate(plan.windows, 1):
            pieces: list[str] = []
            usage = Usage()
            async with contextlib.aclosing(self._send(self._notes_request(window), window.messages)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        pieces.append(event.text)
                    elif isinstance(event, End):
                        usage = event.usage
                    elif isinstance(event, Reading):
                        yield _reading(plan, i, done + event.done, reused + event.reused, began)
                    else:
                        yield event
            text = "".join(pieces).strip()
            notes.append(Note(window.about, text))
            self._usage.add(window.about, text, usage)
            done, reused = done + window.tokens, reused + usage.cached_tokens

    def _notes_request(self, window: Window) -> ChatRequest:
        """A plain, greedy request, whatever format the answer should have."""
        sampling = Sampling(temperature=0.0, max_tokens=window.note_tokens)
        return replace(self._request, sampling=sampling, form=Form(), calling=Calling(), n=1, top_logprobs=None)

    def _end(self, end: End, left_out: tuple[str, ...], first_s: float | None) -> End:
        seconds = time.monotonic() - self._started
        usage = replace(
            self._usage.added_to(end.usage),
            time_to_first_token_s=round(seconds if first_s is None else first_s, 4),
            seconds=round(seconds, 4),
            left_out=left_out,
        )
        return replace(end, usage=usage)


def _reading(plan: Plan, part: int, done: int, reused: int, began: float) -> Reading:
    """Progress over all parts. The time left assumes the pace so far, which includes taking the notes."""
    read = done - reused
    left = plan.tokens - done
    eta_s = (time.monotonic() - began) / read * left if read > 0 else None
    return Reading(min(done, plan.tokens), plan.tokens, reused, eta_s, part, len(plan.windows))
