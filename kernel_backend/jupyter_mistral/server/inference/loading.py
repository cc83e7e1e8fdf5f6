"""Makes a model ready: resolves its name, downloads it if allowed, loads it once for all who wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

from ... import child
from ...protocol.events import Loading
from ...protocol.failures import Failure
from . import disk_models
from .base import Options
from .worker_slot import WorkerSlot


class Load:
    """One load that any number of requests wait for; it continues when all of them have left."""

    def __init__(self, name: str, work: Callable[[Callable[[Loading], None]], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.progress: Loading | None = None
        self._watchers: set[asyncio.Event] = set()
        self.task = asyncio.create_task(work(self._report))
        self.task.add_done_callback(self._finished)

    def _report(self, progress: Loading) -> None:
        self.progress = progress
        self._notify()

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as retrieved: those who wait raise it, and without them nobody needs it
        self._notify()

    def _notify(self) -> None:
        for changed in self._watchers:
            changed.set()

    async def watch(self) -> AsyncGenerator[Loading, None]:
        """Yield progress until the model is ready. Raises the load's `Failure`, `cancelled` if it was cancelled."""
        last: Loading | None = None
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            while not self.task.done():
                if self.progress is not None and self.progress is not last:
                    last = self.progress
                    yield last
                    continue
                changed.clear()
                await changed.wait()
        finally:
            self._watchers.discard(changed)
        if self.task.cancelled():
            raise Failure("cancelled", f"Loading {self.name} was cancelled.", "Load it again with `%mistral load`.")
        self.task.result()


class ModelLoader:
    """Owns the load in progress, at most one, and the name of the default model."""

    def __init__(
        self, options: Options, slot: WorkerSlot, log: logging.Logger, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self._slot, self._log, self._on_end = slot, log, on_end
        self.default = options.default_model
        self.current: Load | None = None

    async def resolve(self, name: str | None) -> str:
        """None and `default` mean the model that is loading, else the configured one, else one that fits the machine."""
        if name not in (None, "default"):
            return name
        return self.current.name if self.current is not None else await self.default_name()

    async def default_name(self) -> str:
        if not self.default:
            from ...models import default_name

            self.default = await asyncio.to_thread(default_name)
        return self.default

    async def ensure_ready(self, name: str | None, download: bool = False) -> AsyncGenerator[Loading, None]:
        """Load the model unless it is ready, and yield the progress. Raises `Failure`."""
        if self._slot.ready(name) is not None:
            return
        resolved = await self.resolve(name)
        while self.current is not None and self.current.name != resolved:
            with contextlib.suppress(Failure):  # of another model
                async for progress in self.current.watch():
                    yield progress
        if self._slot.ready(name) is not None:
            return
        if self.current is None:
            self._slot.refuse_crash_loop()
            self.current = Load(resolved, lambda report: self._load(resolved, download, report))
        async for progress in self.current.watch():
            yield progress

    async def cancel(self) -> None:
        if (load := self.current) is not None:
            load.task.cancel()
            await asyncio.gather(load.task, return_exceptions=True)

    async def _load(self, name: str, download: bool, report: Callable[[Loading], None]) -> None:
        try:
            await self._bring_in(name, download, report)
            self._slot.failure = None
        except Failure as failure:
            self._slot.failure = failure
            raise
        except Exception:
            self._log.exception("mistral: loading failed")
            unexpected = Failure("internal", "Loading the model failed.", "See the server's log for the cause.")
            self._slot.failure = unexpected
            raise unexpected from None
        finally:
            self.current = None
            self._on_end()

    async def _bring_in(self, name: str, download: bool, report: Callable[[Loading], None]) -> None:
        model = await asyncio.to_thread(disk_models.find, name)
        disk_models.refuse_missing_engine()
        folder = await asyncio.to_thread(disk_models.private_folder)
        if model.is_absent and download:
            async with contextlib.aclosing(download_model(name, folder)) as steps:
                async for progress in steps:
                    report(progress)
            model = await asyncio.to_thread(disk_models.find, name)
        model.refuse_absent()
        async with self._slot.lock.exclusive():
            await self._slot.replace(model, folder, report)


async def download_model(name: str, folder: Path) -> AsyncGenerator[Loading, None]:
    """Download in a child process, the only one that uses the network, and yield progress. Closing the stream stops it. Raises `Failure`."""
    process = await child.start(
        child.python("jupyter_mistral.models.fetch", name),
        env=child.download_environment(os.environ) | {"PYTHONUNBUFFERED": "1"},
        cwd=folder,
        stdout=PIPE,
    )
    assert process.stdout is not None
    is_done = False
    try:
        async for line in process.stdout:
            data = json.loads(line)
            if data.get("error"):
                raise Failure.of_dict(data["error"])
            if data.get("event") == "done":
                is_done = True
                continue
            yield Loading(data["stage"], data.get("fraction"), data.get("detail", ""), data.get("eta_s"))
        if not is_done:
            raise Failure("download_failed", f"The download of {name} was interrupted.", "Try again to resume it.")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await process.wait()
