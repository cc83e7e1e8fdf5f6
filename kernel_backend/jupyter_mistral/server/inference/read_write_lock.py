"""An asyncio lock that many may share or one may hold alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class ReadWriteLock:
    """Shared by running requests, exclusive for a change of what they run on. Writers wait for readers; later readers wait for them."""

    def __init__(self) -> None:
        self._readers = self._writers = 0  # writers: waiting ones and the active one
        self._is_writing = False
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        while self._writers:
            await self._next_change()
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            self._changed.set()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        self._writers += 1
        has_lock = False
        try:
            while self._readers or self._is_writing:
                await self._next_change()
            has_lock = self._is_writing = True
            yield
        finally:
            self._writers -= 1
            self._is_writing = self._is_writing and not has_lock
            self._changed.set()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
