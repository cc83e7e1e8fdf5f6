"""The status of the local engine, put together from its parts."""

from __future__ import annotations

import asyncio
from typing import Literal, TypeAlias

from ..._version import __version__
from ...protocol.events import End, Event, Loading, Usage
from ...protocol.failures import Failure
from ...protocol.status import Memory, Seal, Status
from . import disk_models
from .base import Options
from .loading import ModelLoader
from .turn_queue import TurnQueue
from .worker_slot import WorkerSlot

State: TypeAlias = Literal["absent", "unloaded", "loading", "ready", "parked", "failed"]


class StatusReport:
    """Watches the events of answers for the last usage and the current stall."""

    def __init__(self, options: Options, turns: TurnQueue, slot: WorkerSlot, loader: ModelLoader) -> None:
        self._options, self._turns, self._slot, self._loader = options, turns, slot, loader
        self._stall: Failure | None = None
        self._last: Usage | None = None

    def on_event(self, event: Event) -> None:
        self._stall = (
            Failure("engine_died", f"The model hangs: {event.detail}.") if isinstance(event, Loading) else None
        )
        if isinstance(event, End):
            self._last = event.usage

    def on_answer_over(self) -> None:
        self._stall = None

    async def status(self) -> Status:
        await self._refresh_memory()
        worker = self._slot.worker
        card = worker.card if worker is not None else None
        failure = self._stall or (None if card is not None else self._slot.failure)
        load = self._loader.current
        return Status(
            version=__version__,
            state=await self._state(),
            default_model=self._loader.default or await self._loader.resolve(None),
            model=card,
            progress=load.progress if load is not None else None,
            running=self._turns.running,
            queued=self._turns.waiting,
            memory=worker.memory if worker is not None else Memory(),
            seal=self._seal(),
            last=self._last,
            failure=failure.to_dict() if failure is not None else None,
            worker_pid=worker.pid if worker is not None else None,
            idle_unload_s=self._options.idle_unload_s,
        )

    async def _refresh_memory(self) -> None:
        worker, is_answering = self._slot.worker, bool(self._turns.running)
        # a worker that computes on the CPU answers late while it is busy
        if worker is not None and (worker.memory.gpu or not is_answering):
            await self._slot.refresh_memory(lambda: bool(self._turns.running))

    def _seal(self) -> Seal:
        if seal := self._slot.seal:
            return seal
        is_loading = self._loader.current is not None
        return Seal(reason="checked when the model process starts" if is_loading else "no model process is running")

    async def _state(self) -> State:
        worker = self._slot.worker
        if self._loader.current is not None:
            return "loading"
        if worker is not None and worker.card is not None:
            return "parked" if worker.is_parked else "ready"
        if self._slot.failure is not None:
            return "failed"
        try:
            model = await asyncio.to_thread(disk_models.find, await self._loader.resolve(None))
        except Failure:
            return "absent"
        return "absent" if model.is_absent else "unloaded"
