"""What happens while no request needs the model: a timer, and deferred work that is dropped as soon as somebody asks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ...protocol.failures import Failure

Work: TypeAlias = Callable[[], Awaitable[None]]


class IdleTimer:
    """Calls `action` after `after_s` idle seconds; 0 means never."""

    def __init__(self, after_s: float, action: Callable[[], None]) -> None:
        self._after_s, self._action = after_s, action
        self._timer: asyncio.TimerHandle | None = None

    def idle(self) -> None:
        """Start counting from now."""
        self.busy()
        if self._after_s:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._action)

    def busy(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class IdleWork:
    """Keeps the latest piece of work on offer and runs it after some idle time, as the caller who offered it.

    The caller context is the offerer's, no matter whose request ended last.
    """

    def __init__(self, after_s: float, log: logging.Logger) -> None:
        self._timer, self._log = IdleTimer(after_s, self._start), log
        self._offer: tuple[Work, contextvars.Context] | None = None
        self._task: asyncio.Task[None] | None = None

    def offer(self, work: Work) -> None:
        """Run `work` in the next idle period, in place of any earlier offer."""
        self._offer = work, contextvars.copy_context()

    def idle(self) -> None:
        self.busy()
        if self._offer is not None:
            self._timer.idle()

    def busy(self) -> None:
        """Cancel running work; it is not resumed."""
        self._timer.busy()
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        self.busy()
        self._offer = None
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self) -> None:
        offer, self._offer = self._offer, None
        if offer is not None and self._task is None:
            work, context = offer
            self._task = context.run(asyncio.create_task, self._run(work))

    async def _run(self, work: Work) -> None:
        try:
            await work()
        except Failure:
            pass  # nobody asked for this; the next real request reports what is wrong
        except Exception:
            self._log.exception("mistral: idle work failed")
        finally:
            self._task = None
