"""The worker process from the server's side: started, sent requests in frames, ended. Knows nothing of HTTP, queues or models on disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from ...protocol import PROTOCOL
from ...protocol.events import Loading
from ...protocol.failures import Failure
from ...protocol.status import Memory, ModelCard, Seal
from ...protocol.wire import FrameReader, to_frame
from . import worker_process
from .mailbox import Mailbox, Mailboxes
from .worker_process import ENGINE, Launch, Link, Process, redacted

STDERR_BYTES = 64 * 2**10
HELLO_S = 30.0
# longer than any silence of a healthy load: importing torch from a cold disk and reading the largest shard take less
LOAD_SILENCE_S = 600.0
MOVE_S = 300.0  # running answers are finished first
MEMORY_S = 0.5
EXIT_S = 1.0
LAST_WORDS = 2000
RETRY = "Try again; it restarts automatically."
_ids = count(1)


def died(message: str, todo: str = RETRY) -> Failure:
    return Failure("engine_died", message, todo)


class Worker:
    """One live worker. `gone` is set once its process or its socket has ended; a dead worker is never reused."""

    def __init__(self, process: Process, link: Link, on_death: Callable[[Worker], None], log: logging.Logger) -> None:
        self._process, (self._reader, self._writer) = process, link
        self._on_death, self._log = on_death, log
        self._mailboxes = Mailboxes()
        self.stderr_tail = bytearray()
        self.is_stopping = False  # its end was requested
        self._was_killed_by_us = False
        self.gone = asyncio.Event()
        self.card: ModelCard | None = None
        self.memory = Memory()
        self.seal = Seal()
        self.tokenizer: str | None = None
        self.width = 1  # requests that it answers at once
        self.is_parked = False
        self._silent_since = 0.0
        self._tasks = [asyncio.create_task(job()) for job in (self._listen, self._keep_stderr, self._await_exit)]

    @classmethod
    async def start(
        cls,
        on_death: Callable[[Worker], None],
        log: logging.Logger,
        *,
        folder: Path,
        launch: Launch = ENGINE,
    ) -> Worker:
        """Start a worker in `folder` and wait for its hello. Raises `Failure`: `engine_died`, `unsupported`."""
        worker = cls(*await worker_process.start(folder, launch), on_death, log)
        try:
            await worker._await_hello()
        except BaseException:
            await worker.stop()
            raise
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _await_hello(self) -> None:
        with self._mailboxes.opened("hello") as mailbox:
            try:
                hello = await mailbox.receive(HELLO_S)
            except asyncio.TimeoutError:
                hello = None
        if hello is None:
            raise died("The model process did not start.", "Run `jupyter mistral doctor` to find the cause.")
        if hello.get("protocol") != PROTOCOL:
            raise died("The model process has a different version.", "Restart the Jupyter server after an upgrade.")
        self.seal = Seal(**hello["seal"])

    # ------------------------------------------------------------------------------------------ requests

    async def load(self, order: Mapping[str, Any]) -> AsyncGenerator[Loading, None]:
        """Load a model and yield the progress. Raises `Failure`: the worker's own, or `engine_died`."""
        with self._mailboxes.opened("load") as mailbox:
            self._send({"type": "load", **order})
            while True:
                try:
                    header = await mailbox.receive(LOAD_SILENCE_S)
                except asyncio.TimeoutError:
                    await self.kill()
                    raise died(f"Loading the model made no progress for {LOAD_SILENCE_S:.0f} s.") from None
                if header is None:
                    raise died(self._exit_message(" while loading the model"))
                if header["type"] == "failed":
                    raise Failure.of_dict(header["failure"])
                if header["type"] == "ready":
                    return
                yield Loading(header["stage"], header.get("fraction"), header.get("detail", ""), header.get("eta_s"))

    @contextlib.contextmanager
    def request(self, header: Mapping[str, Any], blob: bytes = b"") -> Iterator[Mailbox]:
        """Send a request and give the mailbox of its answers. Leaving before the mailbox `is_done` cancels the request."""
        name = f"{next(_ids)}"
        with self._mailboxes.opened(name) as mailbox:
            self._send({**header, "id": name}, blob)
            try:
                yield mailbox
            finally:
                if not mailbox.is_done:
                    self._send({"type": "cancel", "id": name})

    async def call(self, header: Mapping[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        """The single answer to a small request such as `count` or `render`. Raises `Failure`."""
        with self.request(header) as mailbox:
            try:
                answer = await mailbox.receive(timeout_s)
            except asyncio.TimeoutError:
                answer = None
            mailbox.is_done = True
        if answer is None:
            raise died(self._exit_message())
        if answer["type"] == "error":
            raise Failure.of_dict(answer["failure"])
        return answer

    async def refresh_memory(self) -> None:
        """Update `memory`. A worker that does not answer at once keeps its old value and counts as silent until it speaks."""
        begun = time.monotonic()
        try:
            await self.call({"type": "look"}, MEMORY_S)
        except Failure:
            self._silent_since = self._silent_since or begun

    @property
    def silent_s(self) -> float:
        """Seconds since a `refresh_memory` that nothing has answered yet; 0 if it was answered."""
        return time.monotonic() - self._silent_since if self._silent_since else 0.0

    async def move_weights(self, how: str) -> None:
        """`park` the weights in host memory, or `wake` them. Raises `Failure`."""
        await self.call({"type": how}, MOVE_S)

    async def use_adapter(self, name: str, path: str) -> None:
        """Apply the LoRA adapter at `path`; an empty name removes it. Raises `Failure`."""
        answer = await self.call({"type": "adapt", "name": name, "path": path}, MOVE_S)
        assert self.card is not None
        self.card = replace(self.card, adapter=str(answer["adapter"]))

    def _send(self, header: Mapping[str, Any], blob: bytes = b"") -> None:
        if not self.gone.is_set():
            # no drain: few requests run at a time, and their frames are bounded
            self._writer.write(to_frame(header, blob))

    # ------------------------------------------------------------------------------------------ messages

    async def _listen(self) -> None:
        frames = FrameReader()
        try:
            while data := await self._reader.read(2**18):
                for header, _ in frames.feed(data):
                    self._receive(header)
            # the socket closed, so the process is about to exit: wait for its exit code, which the user is shown
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), EXIT_S)
        except OSError:
            pass
        except (ValueError, KeyError, TypeError):
            # neither the frame nor a traceback: both may contain text of a notebook
            self._log.error("mistral: the model process sent an invalid message and is killed")
        self._end()

    def _receive(self, header: dict[str, Any]) -> None:
        kind = header["type"]
        self._silent_since = 0.0
        if kind == "ready":
            card = header["card"]
            self.card = ModelCard(**{**card, "can": tuple(card.get("can") or ("text",))})
            self.memory = Memory(**header["memory"])
            self.tokenizer = header.get("tokenizer")
            self.width = int(header.get("width") or 1)
        if kind in ("reading", "moved"):
            self.is_parked = bool(header.get("is_parked", False))  # prefill brings the weights back
        if kind == "memory":
            self.memory = Memory(**{k: v for k, v in header.items() if k != "type"})
            return
        name = kind if kind == "hello" else "load" if kind in ("loading", "ready", "failed") else str(header["id"])
        self._mailboxes.deliver(name, header)

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(2**14):
            self.stderr_tail += data
            del self.stderr_tail[:-STDERR_BYTES]

    def cpu_s(self) -> float:
        return worker_process.cpu_seconds(self.pid)

    def last_words(self) -> str:
        """The end of the worker's stderr, for the log; never shown to a user."""
        return redacted(self.stderr_tail[-LAST_WORDS:].decode("utf-8", "replace"))

    # ------------------------------------------------------------------------------------------ exit

    async def _await_exit(self) -> None:
        await self._process.wait()
        self._end()

    def _end(self) -> None:
        """Runs when the socket closes or the process exits, whichever is first: children may keep the socket open."""
        if self.gone.is_set():
            return
        self.gone.set()
        self._signal(signal.SIGKILL)
        self._writer.close()
        self._mailboxes.close()
        if not self.is_stopping:
            self._on_death(self)

    def _exit_message(self, when: str = "") -> str:
        code = self._process.returncode
        if code == -signal.SIGKILL and not self._was_killed_by_us:
            return f"The model process was killed{when}, often because memory ran out."
        if code in (None, 0, -signal.SIGKILL):
            return f"The model process ended{when}."
        return f"The model process crashed{when} (exit code {code})."

    async def exit_message(self) -> str:
        """Wait until the dead process has exited; then how it ended, as a sentence."""
        await self._process.wait()
        return self._exit_message()

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            self._was_killed_by_us = self._was_killed_by_us or number == signal.SIGKILL
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def stop(self) -> None:
        """Ask the process to exit, then terminate it, then kill it. Frees its memory on the host and on the GPU."""
        self.is_stopping = True
        self._send({"type": "shutdown"})
        for number, patience_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 3.0)):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), patience_s)
                break
            self._signal(number)
        await self.reap()

    async def kill(self) -> None:
        """Kill an unresponsive process; this counts as its death."""
        self._signal(signal.SIGKILL)
        await self.reap()

    async def reap(self) -> None:
        """Wait until a dying worker is completely gone."""
        await self._process.wait()
        self._end()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
