"""Owns the one worker process that has a model in memory: starts, replaces, parks and ends it, and knows why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.events import Loading
from ...protocol.failures import Failure
from ...protocol.status import Seal
from .base import Options
from .disk_models import DiskModel
from .read_write_lock import ReadWriteLock
from .worker import Worker
from .worker_process import Launch


@dataclass(frozen=True)
class Adapter:
    """The LoRA adapter that a model is loaded with, whenever it is loaded."""

    model: str
    name: str
    path: str


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


class WorkerSlot:
    """Requests hold `lock` shared while the worker answers them; whoever replaces or changes the worker holds it exclusively."""

    def __init__(self, options: Options, log: logging.Logger, launch: Launch) -> None:
        self._options, self._log, self._launch = options, log, launch
        self.lock = ReadWriteLock()
        self.worker: Worker | None = None
        self.failure: Failure | None = None  # why there is no worker
        self.kv, self._spill = options.kv, options.spill
        self._starting: Worker | None = None
        self._adapter: Adapter | None = None
        self._crashes = CrashLoop(options.max_crashes, options.crash_window_s)
        self._tasks: set[asyncio.Task[None]] = set()

    def ready(self, name: str | None) -> Worker | None:
        """The worker if it can answer for this model with the present settings; None and `default` accept any model."""
        worker = self.worker
        if worker is None or worker.card is None or worker.gone.is_set() or worker.card.kv != self.kv:
            return None
        if worker.memory.spilled and not self._spill:
            return None
        return worker if name in (None, "default", worker.card.name) else None

    @property
    def seal(self) -> Seal | None:
        """How the running or starting worker is sealed off; it seals itself before its first message."""
        worker = self.worker or self._starting
        return worker.seal if worker is not None else None

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text. Raises `Failure`."""
        if self.worker is None:
            raise Failure("model_not_on_disk", "Tokens cannot be counted before the model is loaded.", "Load it first.")
        answer = await self.worker.call({"type": "count", "texts": list(texts)})
        return [int(n) for n in answer["counts"]]

    # ------------------------------------------------------------------------------------------ start

    def configure(self, kv: str | None, spill: bool | None) -> None:
        """Settings from now on, None keeps one; forgets earlier crashes and failures."""
        self._crashes.reset()
        self.failure = None
        self.kv = kv or self.kv
        self._spill = self._spill if spill is None else spill

    def refuse_crash_loop(self) -> None:
        if failure := self._crashes.failure:
            self.failure = failure
            raise failure

    async def replace(self, model: DiskModel, folder: Path, report: Callable[[Loading], None]) -> None:
        """End the present worker and load `model` in a new one. Raises `Failure`. Needs the exclusive lock."""
        await self.stop()
        report(Loading("load", None, "starting the model process"))
        worker = self._starting = await Worker.start(self._died, self._log, folder=folder, launch=self._launch)
        try:
            async with contextlib.aclosing(worker.load(self._order(model))) as progress:
                async for step in progress:
                    report(step)
        except BaseException:
            await worker.stop()
            raise
        finally:
            self._starting = None
        assert worker.card is not None
        worker.card = model.completed(worker.card)
        self.worker = worker
        self._log.info("mistral: %s is loaded, process %d", model.entry.name, worker.pid)

    def _order(self, model: DiskModel) -> dict[str, Any]:
        order = model.order(self._options.context_length, self._options.device)
        order |= {"kv": self.kv, "width": self._options.parallel, "spill": self._spill}
        if self._adapter is not None and self._adapter.model == model.entry.name:
            order["adapter"] = {"name": self._adapter.name, "path": self._adapter.path}
        return order

    # ------------------------------------------------------------------------------------------ change

    async def park(self) -> None:
        """Move the weights off the GPU once running answers end; the next request brings them back. Raises `Failure`."""
        async with self.lock.exclusive():
            worker = self.ready(None)
            if worker is None:
                raise Failure("engine_stopped", "No model is loaded, so the GPU is free.", "There is nothing to do.")
            await worker.move_weights("park")

    async def wake(self, worker: Worker) -> None:
        async with self.lock.exclusive():
            await worker.move_weights("wake")

    async def use_adapter(self, worker: Worker, name: str, path: str) -> None:
        """Also for later loads of this model; an empty name removes the adapter."""
        assert worker.card is not None
        model = worker.card.name
        async with self.lock.exclusive():
            await worker.use_adapter(name, path)
        self._adapter = Adapter(model, name, path) if name else None

    # ------------------------------------------------------------------------------------------ end

    async def stop(self) -> None:
        """End the worker: its memory is free when this returns."""
        worker, self.worker = self.worker, None
        self.failure = None  # an earlier failure no longer describes the present state
        if worker is not None:
            await worker.stop()

    def stop_soon(self) -> None:
        self._keep(asyncio.create_task(self.stop()))

    async def close(self) -> None:
        await self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refresh_memory(self, is_answering: Callable[[], bool]) -> None:
        """Update the worker's memory figures. An idle worker that has been silent as long as a stalled one may be is killed."""
        worker = self.worker
        if worker is None:
            return
        await worker.refresh_memory()
        if worker.silent_s > self._options.stall.kill_s and not is_answering() and worker is self.worker:
            self._log.error("mistral: the model process was silent for %.0f s and is killed", worker.silent_s)
            await worker.kill()

    def _died(self, worker: Worker) -> None:
        """The worker ended without being asked to; the next request starts another."""
        self._crashes.record()
        words = worker.last_words().strip()
        output = f"its last output:\n{words}" if words else "it left no output"
        self._log.error("mistral: the model process died (pid %d); %s", worker.pid, output)
        if self.worker is worker:
            self.worker = None
            self._keep(asyncio.create_task(worker.reap()))
        self.failure = self._crashes.failure or self.failure

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
