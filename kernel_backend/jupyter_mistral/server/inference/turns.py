"""Who is next: a few requests have the engine together, the others wait, fairly between those who ask. Knows nothing of what
they ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

from ...protocol.failures import Failure

LONGEST = 64


class Line:
    """`width` requests run at once, at most `longest` wait. Next is whose owner has the fewest of them, then who came first:
    one notebook's twenty questions do not hold up another's one. Nobody waits for who gives way, but his like. Every place that
    was joined must be left."""

    def __init__(self, longest: int = LONGEST, width: int = 1) -> None:
        self._longest, self._width = longest, width
        self._running: list[Place] = []
        self._waiting: list[Place] = []

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def width(self) -> int:
        return self._width

    def widen(self, width: int) -> None:
        """Let so many run at once from now on; who runs already is not stopped."""
        self._width = width
        self._move()

    def join(self, owner: str = "", *, refuse: bool = False, gives_way: bool = False) -> Place:
        """A place at the end. gives_way: ghost text, worth nothing once somebody asks a question. Raises `Failure("busy")` when
        the line is full, or where `refuse` and anybody is there who does not give way."""
        place = Place(self, owner, gives_way)
        is_full = self._before(place) >= self._width and self.waiting >= self._longest
        if (refuse and any(not place.gives_way for place in [*self._running, *self._waiting])) or is_full:
            raise Failure(
                "busy",
                "The model is busy with another request."
                if refuse
                else f"{self.waiting} requests already wait for the model.",
                "Try again in a few seconds.",
            )
        self._waiting.append(place)
        self._move()
        return place

    def ahead_of(self, place: Place) -> int:
        """How many run or will run before this one."""
        return 0 if place in self._running else self._before(place) + self._served().index(place)

    def _before(self, place: Place) -> int:
        """How many run that this one waits for."""
        return sum(place.gives_way or not other.gives_way for other in self._running)

    def _served(self) -> list[Place]:
        """Those who wait, in the order in which they will be served if nobody comes or leaves."""
        had, left, order = Counter(place.owner for place in self._running), list(self._waiting), []
        while left:
            first = min(left, key=lambda place: (place.gives_way, had[place.owner]))
            left.remove(first)
            order.append(first)
            had[first.owner] += 1
        return order

    def leave(self, place: Place) -> None:
        """Free a place, whether its turn came or not; leaving twice does nothing."""
        for places in (self._running, self._waiting):
            if place in places:
                places.remove(place)
                self._move()

    def _move(self) -> None:
        for place in self._served():
            if self._before(place) < self._width:
                self._waiting.remove(place)
                self._running.append(place)
        for place in [*self._running, *self._waiting]:
            place.moved.set()


class Place:
    """One request's place in the line."""

    def __init__(self, line: Line, owner: str, gives_way: bool) -> None:
        self._line, self.owner, self.gives_way = line, owner, gives_way
        self.moved = asyncio.Event()

    async def wait(self) -> AsyncGenerator[int, None]:
        """Yield how many are ahead, at once and whenever it changes, until it is this one's turn."""
        told = 0
        while ahead := self._line.ahead_of(self):
            self.moved.clear()
            if ahead != told:
                told = ahead
                yield ahead
            await self.moved.wait()

    def leave(self) -> None:
        self._line.leave(self)


class Floor:
    """Held by all who answer together, or by one who changes what they stand on; he waits for them, later ones for him."""

    def __init__(self) -> None:
        self._inside = self._coming = 0
        self._is_changing = False
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        while self._coming:
            await self._next()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._news.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        self._coming += 1
        is_in = False
        try:
            while self._inside or self._is_changing:
                await self._next()
            is_in = self._is_changing = True
            yield
        finally:
            self._coming -= 1
            self._is_changing = self._is_changing and not is_in
            self._news.set()

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()
