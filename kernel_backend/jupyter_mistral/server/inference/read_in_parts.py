"""An answer, read for thoroughly where that is asked: notes on each part of the notebook first, then the answer out of them.

The worker gets one prompt after the other; leaving the stream ends all of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ...protocol.conversation import Message
from ...protocol.events import Delta, End, Event, Reading, Usage
from ...protocol.requests import Calling, ChatRequest, Form, Sampling

if TYPE_CHECKING:
    from ...context import Built, Note, Plan, Window
    from .local import Target

# how often notes that do not fit together are made shorter, before they are cut
ROUNDS = 3
Send: TypeAlias = Callable[[ChatRequest, Sequence[Message]], AsyncGenerator[Event, None]]


class Prompter(Protocol):
    """What `PromptBuilder` does for a request."""

    async def prompt(self, request: ChatRequest, target: Target) -> tuple[tuple[Message, ...], tuple[str, ...]]: ...
    async def plan(self, request: ChatRequest, target: Target) -> Plan | None: ...
    async def combine(
        self, request: ChatRequest, target: Target, notes: Sequence[Note], last: bool
    ) -> Built | None: ...
    async def condense(self, request: ChatRequest, target: Target, notes: Sequence[Note]) -> Plan: ...


async def answered(request: ChatRequest, target: Target, prompter: Prompter, send: Send) -> AsyncGenerator[Event, None]:
    """Events up to the `End`. send: asks the model, for a request and the messages to send in its place."""
    plan = await prompter.plan(request, target) if request.extras.thorough else None
    if plan is not None:
        async with contextlib.aclosing(_InParts(request, target, prompter, send).answer(plan)) as events:
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
class _Spent:
    """What the parts cost together."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    prompt: int = 0
    cached: int = 0
    new: int = 0
    joules: float = 0.0

    def add(self, about: str, notes: str, usage: Usage) -> None:
        self.prompt += usage.prompt_tokens
        self.cached += usage.cached_tokens
        self.new += usage.completion_tokens
        self.joules += usage.energy_j or 0.0
        self.rows.append(
            {
                "cells": about,
                "notes": notes,
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
            }
        )


class _InParts:
    def __init__(self, request: ChatRequest, target: Target, prompter: Prompter, send: Send) -> None:
        self._request, self._target, self._prompter, self._send = request, target, prompter, send
        self._spent = _Spent()
        self._started = time.monotonic()

    async def answer(self, plan: Plan) -> AsyncGenerator[Event, None]:
        notes: list[Note] = []
        async for event in self._noted(plan, notes):
            yield event
        rounds = 0
        while (built := await self._combined(notes, rounds)) is None:
            shorter: list[Note] = []
            async for event in self._noted(await self._prompter.condense(self._request, self._target, notes), shorter):
                # progress is told over the notebook's parts; of what follows, only that there is some
                yield replace(event, part=0, parts=0) if isinstance(event, Reading) else event
            notes, rounds = shorter, rounds + 1
        left_out = (*plan.left_out, *built.left_out)
        first_s: float | None = None
        async with contextlib.aclosing(self._send(self._request, built.messages)) as events:
            async for event in events:
                if first_s is None and isinstance(event, Delta):
                    first_s = time.monotonic() - self._started
                yield self._end(event, left_out, first_s) if isinstance(event, End) else event

    async def _combined(self, notes: list[Note], rounds: int) -> Built | None:
        return await self._prompter.combine(self._request, self._target, notes, rounds == ROUNDS)

    async def _noted(self, plan: Plan, notes: list[Note]) -> AsyncGenerator[Event, None]:
        """Read the windows in turn and add what was noted on each to `notes`; tells how much of all of them is read."""
        from ...context import Note

        done = reused = 0
        began = time.monotonic()
        for i, window in enumerate(plan.windows, 1):
            pieces: list[str] = []
            usage = Usage()
            async with contextlib.aclosing(self._send(self._of(window), window.messages)) as events:
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
            self._spent.add(window.about, text, usage)
            done, reused = done + window.tokens, reused + usage.cached_tokens

    def _of(self, window: Window) -> ChatRequest:
        """A plain, greedy request for notes, whatever shape the answer shall have."""
        sampling = Sampling(temperature=0.0, max_tokens=window.room)
        return replace(self._request, sampling=sampling, form=Form(), calling=Calling(), n=1, top_logprobs=None)

    def _end(self, end: End, left_out: tuple[str, ...], first_s: float | None) -> End:
        spent, usage = self._spent, end.usage
        seconds = time.monotonic() - self._started
        usage = replace(
            usage,
            prompt_tokens=usage.prompt_tokens + spent.prompt,
            completion_tokens=usage.completion_tokens + spent.new,
            cached_tokens=usage.cached_tokens + spent.cached,
            time_to_first_token_s=round(seconds if first_s is None else first_s, 4),
            seconds=round(seconds, 4),
            energy_j=None if usage.energy_j is None else round(usage.energy_j + spent.joules, 3),
            left_out=left_out,
            parts=tuple(spent.rows),
        )
        return replace(end, usage=usage)


def _reading(plan: Plan, part: int, done: int, reused: int, began: float) -> Reading:
    """Progress over all parts; the time left counts the notes too, at the pace so far."""
    read = done - reused
    left = plan.tokens - done
    eta_s = (time.monotonic() - began) / read * left if read > 0 else None
    return Reading(min(done, plan.tokens), plan.tokens, reused, eta_s, part, len(plan.windows))
