"""Sorts the worker's messages by the request that they answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any


class Mailbox(asyncio.Queue["dict[str, Any] | None"]):
    """The worker's messages about one request; None means that the worker died. `is_done` is set by the reader at the last one."""

    is_done = False

    async def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message. Raises `asyncio.TimeoutError`.

        Not `asyncio.wait_for`: before Python 3.12 it loses a cancellation that coincides with a message.
        """
        getting = asyncio.ensure_future(self.get())
        try:
            done, _ = await asyncio.wait({getting}, timeout=timeout_s)
        finally:
            getting.cancel()
        if not done:
            raise asyncio.TimeoutError
        return getting.result()


class Mailboxes:
    """The open mailboxes by request id."""

    def __init__(self) -> None:
        self._open: dict[str, Mailbox] = {}
        self._is_closed = False

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Mailbox]:
        mailbox = Mailbox()
        self._open[name] = mailbox
        if self._is_closed:
            mailbox.put_nowait(None)
        try:
            yield mailbox
        finally:
            del self._open[name]

    def deliver(self, name: str, message: dict[str, Any]) -> None:
        """Messages about a request that nobody waits for are dropped."""
        mailbox = self._open.get(name)
        if mailbox is not None:
            mailbox.put_nowait(message)

    def close(self) -> None:
        """Report the worker's death to all waiting and future readers."""
        self._is_closed = True
        for mailbox in self._open.values():
            mailbox.put_nowait(None)
