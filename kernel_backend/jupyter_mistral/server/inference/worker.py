"""The worker process as the server sees it: started, spoken to in frames, ended. Knows nothing of HTTP, queues or models on disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ...protocol import PROTOCOL
from ...protocol.events import Loading
from ...protocol.failures import Failure
from ...protocol.status import Memory, ModelCard, Seal
from ...protocol.wire import FrameReader, to_frame

RING = 64 * 2**10
HELLO_S = 30.0
# no model load is silent for so long: torch's import from a cold disk and the largest shard stay well below
LOAD_SILENCE_S = 600.0
MOVE_S = 300.0  # answers under way are finished first
LOOK_S = 0.5
HANG_UP_S = 1.0
LAST_WORDS = 2000
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|CREDENTIAL|COOKIE|API_?KEY|(?:^|_)(?:KEYS?|AUTH|DSN)(?:_|$)|^(?:DBUS_|DOCKER_)", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")  # an address with a password in it
_SECRET_TEXT = re.compile(r"\b(hf_|sk-|ghp_|Bearer )\S+")
_numbers = count(1)


class Mailbox(asyncio.Queue["dict[str, Any] | None"]):
    """What the worker says about one request; None stands for its death. The reader sets `ended` at the last word."""

    ended = False

    async def within(self, seconds: float) -> dict[str, Any] | None:
        """The next message, or `asyncio.TimeoutError`. Not `wait_for`: before Python 3.12 it drops a cancellation that meets one."""
        getting = asyncio.ensure_future(self.get())
        try:
            done, _ = await asyncio.wait({getting}, timeout=seconds)
        finally:
            getting.cancel()
        if not done:
            raise asyncio.TimeoutError
        return getting.result()


def died(what: str, todo: str = "Ask again: it is started anew.") -> Failure:
    return Failure("engine_died", what, todo)


def environment(parent: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment: no secrets of the server, no ways to its agents, no hub, no modules from where we were started."""
    kept = {k: v for k, v in parent.items() if not _SECRET_NAME.search(k) and not _SECRET_VALUE.search(v)}
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def redacted(text: str) -> str:
    return _SECRET_TEXT.sub(r"\1…", text.replace(str(Path.home()), "~"))


class Process(Protocol):
    """What is asked of a started process; asyncio's own can all of it. It leads a session of its own."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    @property
    def stderr(self) -> asyncio.StreamReader | None: ...
    async def wait(self) -> int: ...


# from the worker's end of the link, its folder and its environment
Launch = Callable[[socket.socket, Path, Mapping[str, str]], Awaitable[Process]]


def by_command(*command: str) -> Launch:
    """Start the worker by a command; `--fd` gives it the descriptor of its link."""

    async def launch(link: socket.socket, folder: Path, env: Mapping[str, str]) -> Process:
        return await asyncio.create_subprocess_exec(
            *command,
            "--fd",
            str(link.fileno()),
            pass_fds=[link.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=folder,
            # a Ctrl-C in the server's terminal asks the server, not the worker
            start_new_session=True,
        )

    return launch


OURS = by_command(sys.executable, "-m", "jupyter_mistral.engine")


class Worker:
    """One living worker. `gone` is set once its process or its link has ended; a dead worker is never used again."""

    def __init__(
        self,
        process: Process,
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_death: Callable[[Worker], None],
        log: logging.Logger,
    ) -> None:
        self._process, (self._reader, self._writer) = process, link
        self._on_death, self._log = on_death, log
        self._mailboxes: dict[str, Mailbox] = {}
        self._stderr = bytearray()
        self.is_stopping = False  # whether its end was asked for
        self._is_killed = False  # by us
        self.gone = asyncio.Event()
        self.card: ModelCard | None = None
        self.memory = Memory()
        self.seal = Seal()
        self.tokenizer: str | None = None
        self.width = 1  # requests that it answers at once
        self.is_parked = False  # its weights are not on the device
        self._silent_since = 0.0
        self._tasks = [asyncio.create_task(job()) for job in (self._listen, self._keep_stderr, self._await_exit)]

    @classmethod
    async def start(
        cls,
        on_death: Callable[[Worker], None],
        log: logging.Logger,
        *,
        folder: Path,
        launch: Launch = OURS,
    ) -> Worker:
        """Start a worker in `folder` and wait for its hello. Raises `Failure`: `engine_died`, `unsupported`."""
        if platform.system() == "Windows":  # it hands no socket on to a child
            raise Failure(
                "unsupported",
                "No model can be hosted on Windows itself.",
                "Run Jupyter in WSL, or have an admin name an engine elsewhere (c.MistralExtension.engine_url).",
            )
        ours, theirs = socket.socketpair()
        try:
            process = await launch(theirs, folder, environment(os.environ))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        link = await asyncio.open_connection(sock=ours)
        worker = cls(process, link, on_death, log)
        try:
            await worker._greet()
        except BaseException:
            await worker.stop()
            raise
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _greet(self) -> None:
        with self._mailbox("hello") as mail:
            try:
                hello = await mail.within(HELLO_S)
            except asyncio.TimeoutError:
                hello = None
        if hello is None:
            raise died("The model host did not start.", "`jupyter mistral doctor` looks for the reason.")
        if hello.get("protocol") != PROTOCOL:
            raise died("The model host is of another version.", "Restart the Jupyter server after an upgrade.")
        self.seal = Seal(**hello["seal"])

    # ------------------------------------------------------------------------------------------ what it is asked

    async def load(self, order: Mapping[str, Any]) -> AsyncGenerator[Loading, None]:
        """Load a model, telling how far it is. Raises `Failure`: the worker's own, or `engine_died`."""
        with self._mailbox("load") as mail:
            self._send({"type": "load", **order})
            while True:
                try:
                    header = await mail.within(LOAD_SILENCE_S)
                except asyncio.TimeoutError:
                    await self.kill()
                    raise died(f"The model host was silent for {LOAD_SILENCE_S:.0f} s while loading.") from None
                if header is None:
                    raise died(f"The model host ended while it loaded the model{self._why()}.")
                if header["type"] == "failed":
                    raise Failure.of_dict(header["failure"])
                if header["type"] == "ready":
                    return
                yield Loading(header["stage"], header.get("fraction"), header.get("detail", ""), header.get("eta_s"))

    @contextlib.contextmanager
    def ask(self, header: Mapping[str, Any], blob: bytes = b"") -> Iterator[Mailbox]:
        """Send a request; gives the mailbox of its answers. Leaving before the mailbox is `ended` cancels the request."""
        name = f"{next(_numbers)}"
        with self._mailbox(name) as mail:
            self._send({**header, "id": name}, blob)
            try:
                yield mail
            finally:
                if not mail.ended:
                    self._send({"type": "cancel", "id": name})

    async def answer(self, header: Mapping[str, Any], within_s: float = 60.0) -> dict[str, Any]:
        """The one answer to a small question (count, render, ping). Raises `Failure`."""
        with self.ask(header) as mail:
            try:
                found = await mail.within(within_s)
            except asyncio.TimeoutError:
                found = None
            mail.ended = True
        if found is None:
            raise died(f"The model host ended before it answered{self._why()}.")
        if found["type"] == "error":
            raise Failure.of_dict(found["failure"])
        return found

    async def look(self) -> None:
        """Bring `memory` up to date; a worker that does not answer at once leaves it as it was, and is silent until it speaks."""
        begun = time.monotonic()
        try:
            await self.answer({"type": "look"}, LOOK_S)
        except Failure:
            self._silent_since = self._silent_since or begun

    @property
    def silent_s(self) -> float:
        """How long ago it was looked at and has said nothing since; 0 where it has."""
        return time.monotonic() - self._silent_since if self._silent_since else 0.0

    async def move(self, how: str) -> None:
        """`park` the weights in host memory, or `wake` them. Raises `Failure`."""
        await self.answer({"type": how}, MOVE_S)

    async def adapt(self, order: Mapping[str, Any]) -> None:
        """Use the adapter of this name, read from its path; "" is the model alone. Raises `Failure`."""
        told = await self.answer({"type": "adapt", **order}, MOVE_S)
        assert self.card is not None
        self.card = replace(self.card, adapter=str(told["adapter"]))

    def _send(self, header: Mapping[str, Any], blob: bytes = b"") -> None:
        if not self.gone.is_set():
            # no drain: few requests are under way at a time, and their frames have a bound of their own
            self._writer.write(to_frame(header, blob))

    # ------------------------------------------------------------------------------------------ what it says

    @contextlib.contextmanager
    def _mailbox(self, name: str) -> Iterator[Mailbox]:
        mail = Mailbox()
        self._mailboxes[name] = mail
        if self.gone.is_set():
            mail.put_nowait(None)
        try:
            yield mail
        finally:
            del self._mailboxes[name]

    async def _listen(self) -> None:
        frames = FrameReader()
        try:
            while data := await self._reader.read(2**18):
                for header, _ in frames.feed(data):
                    self._take(header)
            # it hung up, so it is about to end: how it ends by itself is what the user is told
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), HANG_UP_S)
        except OSError:
            pass
        except (ValueError, KeyError, TypeError):
            # neither what it was nor a traceback of it: a frame may hold text of a notebook
            self._log.error("mistral: the model host sent garbage; it is ended")
        self._end()

    def _take(self, header: dict[str, Any]) -> None:
        kind = header["type"]
        self._silent_since = 0.0
        if kind == "ready":
            card = header["card"]
            self.card = ModelCard(**{**card, "can": tuple(card.get("can") or ("text",))})
            self.memory = Memory(**header["memory"])
            self.tokenizer = header.get("tokenizer")
            self.width = int(header.get("width") or 1)
        if kind in ("reading", "moved"):
            self.is_parked = bool(header.get("is_parked", False))  # who reads a prompt has its weights back
        if kind == "memory":
            self.memory = Memory(**{k: v for k, v in header.items() if k != "type"})
            return
        name = kind if kind == "hello" else "load" if kind in ("loading", "ready", "failed") else str(header["id"])
        mail = self._mailboxes.get(name)
        if mail is not None:
            mail.put_nowait(header)

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(2**14):
            self._stderr += data
            del self._stderr[:-RING]

    def cpu_s(self) -> float:
        """Seconds of processor time that the worker has used; 0 where the system does not tell (no /proc)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def last_words(self) -> str:
        """The end of what the worker wrote to stderr, for the log; never for a user's screen."""
        return redacted(self._stderr[-LAST_WORDS:].decode("utf-8", "replace"))

    # ------------------------------------------------------------------------------------------ how it ends

    async def _await_exit(self) -> None:
        await self._process.wait()
        self._end()

    def _end(self) -> None:
        """Death is noticed by the link's end or by the process's, whichever is first: children may hold the link open."""
        if self.gone.is_set():
            return
        self.gone.set()
        self._signal(signal.SIGKILL)
        self._writer.close()
        for mail in self._mailboxes.values():
            mail.put_nowait(None)
        if not self.is_stopping:
            self._on_death(self)

    def _why(self) -> str:
        code = self._process.returncode
        if code == -signal.SIGKILL and not self._is_killed:
            return " (killed by the system, which often means that memory ran out)"
        return f" (exit code {code})" if code not in (None, 0, -signal.SIGKILL) else ""

    async def settled(self) -> str:
        """Wait until the dead process is reaped; why it ended, in brackets, or nothing."""
        await self._process.wait()
        return self._why()

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            self._is_killed = self._is_killed or number == signal.SIGKILL
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def stop(self) -> None:
        """End the process: asked, then told, then killed. Nothing of it remains, in memory or on the GPU."""
        self.is_stopping = True
        self._send({"type": "shutdown"})
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 3.0)):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), patience)
                break
            self._signal(number)
        await self.reap()

    async def kill(self) -> None:
        """End a process that does not listen, and count that as its death."""
        self._signal(signal.SIGKILL)
        await self.reap()

    async def reap(self) -> None:
        """Wait for a worker that has died; nothing of it remains then."""
        await self._process.wait()
        await self._close()

    async def _close(self) -> None:
        self._end()
        me = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
