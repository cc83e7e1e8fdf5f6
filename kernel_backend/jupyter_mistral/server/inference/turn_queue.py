"""Decides whose request runs next: a few run together, the others wait, fairly between owners. Knows nothing of requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

from ...protocol.failures import Failure

MAX_QUEUE = 64


class TurnQueue:
    """Runs up to `width` turns at once and lets up to `max_waiting` wait.

    The next turn goes to the owner with the fewest running turns, then to whoever came first, so one notebook's twenty questions
    do not delay another's single one. Background turns (ghost text) only delay other background turns. Each turn must be left.
    """

    def __init__(self, max_waiting: int = MAX_QUEUE, width: int = 1) -> None:
        self._max_waiting, self._width = max_waiting, width
        self._running: list[Turn] = []
        self._waiting: list[Turn] = []

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def set_width(self, width: int) -> None:
        """Change how many run at once; those already running are not stopped."""
        self._width = width
        self._advance()

    def join(self, owner: str = "", *, refuse_if_busy: bool = False, is_background: bool = False) -> Turn:
        """Queue a turn. Raises `Failure("busy")` if the queue is full, or with `refuse_if_busy` if any foreground turn exists."""
        turn = Turn(self, owner, is_background)
        if refuse_if_busy and any(not other.is_background for other in [*self._running, *self._waiting]):
            raise _busy("The model is busy with another request.")
        if self._running_before(turn) >= self._width and self.waiting >= self._max_waiting:
            raise _busy(f"The request queue is full ({self.waiting} waiting).")
        self._waiting.append(turn)
        self._advance()
        return turn

    def position(self, turn: Turn) -> int:
        """How many turns are ahead of this one; 0 once it runs."""
        return 0 if turn in self._running else self._running_before(turn) + self._in_order().index(turn)

    def leave(self, turn: Turn) -> None:
        """Remove a turn, running or waiting; a second call does nothing."""
        for turns in (self._running, self._waiting):
            if turn in turns:
                turns.remove(turn)
                self._advance()

    def _running_before(self, turn: Turn) -> int:
        return sum(turn.is_background or not other.is_background for other in self._running)

    def _in_order(self) -> list[Turn]:
        """The waiting turns in the order in which they will run if nobody joins or leaves."""
        running_of, waiting, ordered = Counter(turn.owner for turn in self._running), list(self._waiting), []
        while waiting:
            first = min(waiting, key=lambda turn: (turn.is_background, running_of[turn.owner]))
            waiting.remove(first)
            ordered.append(first)
            running_of[first.owner] += 1
        return ordered

    def _advance(self) -> None:
        for turn in self._in_order():
            if self._running_before(turn) < self._width:
                self._waiting.remove(turn)
                self._running.append(turn)
        for turn in [*self._running, *self._waiting]:
            turn.changed.set()


class Turn:
    """One request's place in the queue."""

    def __init__(self, queue: TurnQueue, owner: str, is_background: bool) -> None:
        self._queue, self.owner, self.is_background = queue, owner, is_background
        self.changed = asyncio.Event()

    async def wait(self) -> AsyncGenerator[int, None]:
        """Yield the queue position, now and whenever it changes, until the turn runs."""
        reported = 0
        while position := self._queue.position(self):
            self.changed.clear()
            if position != reported:
                reported = position
                yield position
            await self.changed.wait()

    def leave(self) -> None:
        self._queue.leave(self)


def _busy(message: str) -> Failure:
    return Failure("busy", message, "Try again in a few seconds.")
