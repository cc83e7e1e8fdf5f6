"""`GET /mistral/api/doctor`: the cheap checks of `jupyter mistral doctor`, for the panel's first page."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

from ..http.handler import Route, Table

FRESH_S = 20.0  # one run of the checks serves every tab that asks within this time


class Health:
    """Keeps the latest checks. Requests that arrive while they run wait for the same ones. model: see `examine`."""

    def __init__(self, model: str = "", fresh_s: float = FRESH_S) -> None:
        self._model, self._fresh_s = model, fresh_s
        self._checks: list[dict[str, Any]] = []
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def checks(self) -> list[dict[str, Any]]:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._checks = await asyncio.to_thread(_examine, self._model)
                self._until = time.monotonic() + self._fresh_s
            return self._checks


def _examine(model: str) -> list[dict[str, Any]]:
    from ...health import examine

    return [asdict(check) for check in examine(model)]


class Doctor(Route):
    def initialize(self, health: Health) -> None:
        self._health = health

    async def get(self) -> None:
        checks = await self._health.checks()
        self.answer({"ok": all(check["state"] != "blocked" for check in checks), "checks": checks})


def table(model: str) -> Table:
    return [(r"/mistral/api/doctor", Doctor, {"health": Health(model)})]
