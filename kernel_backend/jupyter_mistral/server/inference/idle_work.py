"""Work for a time when nobody asks: begun after some quiet, given up at once when somebody does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ...protocol.failures import Failure

Work: TypeAlias = Callable[[], Awaitable[None]]


class Spare:
    """Holds one piece of work, the latest offered. `rest` and `stay` tell whether anybody waits for the model.

    Work is done in the name of whoever offered it, no matter who left the model in peace.
    """

    def __init__(self, after_s: float, log: logging.Logger) -> None:
        self._after_s, self._log = after_s, log
        self._work: tuple[Work, contextvars.Context] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def offer(self, work: Work) -> None:
        """To be done in the next quiet; takes the place of what was offered before."""
        self._work = work, contextvars.copy_context()

    def rest(self) -> None:
        """Nobody waits any more."""
        self.stay()
        if self._after_s and self._work is not None:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._begin)

    def stay(self) -> None:
        """Somebody waits: stop. What was begun is not taken up again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        self.stay()
        self._work = None
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        offered, self._work, self._timer = self._work, None, None
        if offered is not None and self._task is None:
            work, context = offered
            self._task = context.run(asyncio.create_task, self._run(work))

    async def _run(self, work: Work) -> None:
        try:
            await work()
        except Failure:
            pass  # nobody asked for it; the next real request is told what is wrong
        except Exception:
            self._log.exception("mistral: work in a quiet time failed")
        finally:
            self._task = None
