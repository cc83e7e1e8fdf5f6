"""An answer being generated: runs in a task of its own, has any number of readers, is saved as it grows. Knows no HTTP and no SQL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ...protocol.conversation import Message
from ...protocol.events import Delta, End, Event
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest
from ..inference.base import Engine
from .store import History

log = logging.getLogger(__name__)
SAVE_S = 0.5  # a crash of the server loses at most one second of text
GRACE_S = 10.0  # an answer without readers goes on for this long, so that a page can reload


@dataclass(frozen=True)
class Saved:
    """Whether the chat is on disk; yielded whenever that changes."""

    saved: bool


AnswerEvent: TypeAlias = Event | Saved


class RunningAnswer:
    """Readers come and go. After `grace_s` seconds without one, or at `stop`, the request is cancelled and the text so far kept."""

    def __init__(
        self,
        chat: str,
        message: str,
        request: ChatRequest,
        engine: Engine,
        history: History,
        on_end: Callable[[RunningAnswer], None],
        grace_s: float = GRACE_S,
        save_s: float = SAVE_S,
    ) -> None:
        self.chat, self.message, self.created = chat, message, time.time()
        self._request, self._engine, self._history = request, engine, history
        self._on_end, self._grace_s, self._save_s = on_end, grace_s, save_s
        self._pieces: list[str] = []
        self._stored = 0  # number of `_pieces` that are in the history
        self._place = 0
        self._progress: Event | None = None
        self._end: End | Failure | None = None
        self._readers = 0
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._storing = asyncio.Lock()
        loop = asyncio.get_running_loop()
        self._work = loop.create_task(self._generate())  # cancelled by a stop
        self._task = loop.create_task(self._run())  # never cancelled: it stores the result of the work
        self._await_readers()

    async def stop(self) -> None:
        """End the answer now; returns when its text so far is stored."""
        self._work.cancel()
        await asyncio.wait([self._task])

    async def read(self) -> AsyncGenerator[AnswerEvent, None]:
        """Yield the text so far as one piece, then live events, then one End or raise a Failure. Slow readers get larger pieces."""
        self._readers += 1
        if self._timer is not None:
            self._timer.cancel()
        try:
            async for event in self._follow():
                yield event
        finally:
            self._readers -= 1
            if not self._readers:
                self._await_readers()

    async def _follow(self) -> AsyncGenerator[AnswerEvent, None]:
        sent, progress, saved = 0, None, True
        while True:
            changed = self._changed
            if self._progress is not progress and self._progress is not None:
                progress = self._progress
                yield progress
            if sent < len(self._pieces):
                text, sent = "".join(self._pieces[sent:]), len(self._pieces)
                yield Delta(text)
            if saved != self._history.is_saved(self.chat):
                saved = not saved
                yield Saved(saved)
            if sent < len(self._pieces) or self._changed is not changed:
                continue
            if isinstance(self._end, Failure):
                raise self._end
            if self._end is not None:
                yield self._end
                return
            await changed.wait()

    def _await_readers(self) -> None:
        if self._end is None:
            self._timer = asyncio.get_running_loop().call_later(self._grace_s, self._work.cancel)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ------------------------------------------------------------------------------------------ the task

    async def _run(self) -> None:
        saving = asyncio.get_running_loop().create_task(self._save_as_it_grows())
        try:
            end = await self._work
        except asyncio.CancelledError:
            end = Failure("cancelled", "The answer was stopped.", "Try again for a complete one.")
        saving.cancel()
        is_stored = await self._store_end(end)
        self._end = end
        if self._timer is not None:
            self._timer.cancel()
        self._notify()
        while not is_stored:
            await asyncio.sleep(self._grace_s)
            is_stored = await self._store_end(end)
        self._on_end(self)

    async def _generate(self) -> End | Failure:
        request, dropped = self._request, 0
        while True:
            try:
                end = await self._stream(request)
            except Failure as failure:
                shorter = _without_oldest(request.messages)
                if failure.code != "context_too_long" or self._pieces or shorter is None:
                    return failure
                dropped += len(request.messages) - len(shorter)
                request = replace(request, messages=shorter)
            except Exception:
                # the only broad catch here: whatever happens, the answer ends and is stored
                log.exception("An answer failed")
                return Failure("internal", "The answer failed because of an error in Jupyter Mistral.", "Try again.")
            else:
                if not dropped:
                    return end
                left_out = (*end.usage.left_out, f"the {dropped} oldest messages of this chat")
                return replace(end, usage=replace(end.usage, left_out=left_out))

    async def _stream(self, request: ChatRequest) -> End:
        async with contextlib.aclosing(self._engine.stream(request)) as events:
            async for event in events:
                if isinstance(event, End):
                    return event
                if isinstance(event, Delta):
                    self._pieces.append(event.text)
                else:
                    self._progress = event
                self._notify()
        raise Failure("engine_died", "The connection to the model was lost.", "Try again.")

    async def _save_as_it_grows(self) -> None:
        while True:
            await asyncio.sleep(self._save_s)
            try:
                await asyncio.shield(self._store())
            except Failure as failure:
                if failure.code == "not_found":  # deleted by another server: nobody will read it
                    self._work.cancel()
            self._notify()

    async def _store(self) -> None:
        async with self._storing:
            count = len(self._pieces)
            if count > self._stored:
                text = "".join(self._pieces[self._stored : count])
                await self._history.append(self.chat, self.message, self._place, text)
                self._stored, self._place = count, self._place + 1

    async def _store_end(self, end: End | Failure) -> bool:
        """False if not even memory has room for it."""
        try:
            await self._store()
            if isinstance(end, End):
                await self._history.finish(self.chat, self.message, "done", usage=end.usage.to_dict())
            else:
                state = "interrupted" if self._pieces or end.code == "cancelled" else "failed"
                await self._history.finish(self.chat, self.message, state, failure=end.to_dict())
        except Failure as failure:
            return failure.code == "not_found"  # deleted meanwhile: nothing to store
        return True


def _without_oldest(messages: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """Without the older half of the turns, so that the next cut is far away and the prefix cache stays valid; None if only the question is left."""
    system = tuple(m for m in messages if m.role == "system")
    turns = messages[len(system) :]
    if len(turns) < 3:
        return None
    cut = (len(turns) // 2 + 1) // 2 * 2  # an even number: the rest begins with a question
    return system + turns[min(cut, len(turns) - 1) :]
