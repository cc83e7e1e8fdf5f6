"""Stops restarting a worker that crashes again and again."""

from __future__ import annotations

import time
from collections import deque

from ...protocol.failures import Failure


class CrashLoop:
    """Counts crashes: `limit` of them within `window_s` seconds is a crash loop, until `reset`."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._window_s = window_s
        self._crashes: deque[float] = deque(maxlen=limit)
        self._limit = limit

    def record(self) -> None:
        self._crashes.append(time.monotonic())

    def reset(self) -> None:
        self._crashes.clear()

    @property
    def failure(self) -> Failure | None:
        """Why the model is not restarted; None while it may be."""
        recent = [at for at in self._crashes if time.monotonic() - at < self._window_s]
        if len(recent) < self._limit:
            return None
        return Failure(
            "engine_stopped",
            f"The model process crashed {len(recent)} times in {self._window_s / 60:.0f} minutes "
            "and is no longer restarted automatically.",
            "Run `%mistral load` to try again, or `jupyter mistral doctor` to find the cause.",
        )
