"""A large request body and its notebook, in a process of their own: parsing 100 MB of JSON in this one would stop everybody.

The child (`aside_reader.py`) parses the body, keeps the notebook and hands the rest back; later it does the work of the
context room on it. It lives as long as the request does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import weakref
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...protocol.failures import Failure
from ...protocol.parsing import parse_ask, parse_chat
from ...protocol.wire import FrameReader, read_json, to_frame
from ..inference.worker_process import environment

if TYPE_CHECKING:
    from ...context import Built, Job, Plan
    from .large_body_jobs import Work

T = TypeVar("T")
# a body of this size takes this process about 15 ms to parse, in which nobody else is served
LARGE = 2**20
PIECE = 2**18
PARSERS: dict[str, Callable[[Any], Any]] = {"chat": parse_chat, "ask": parse_ask}


def parser_of(parse: Callable[[Any], Any]) -> str | None:
    """The name of a parser that a child can run, None for any other."""
    return next((name for name, known in PARSERS.items() if known is parse), None)


async def taken(body: bytearray, parser: str) -> Any:
    """The request in a large body, its notebook an `Aside` if it has one. Empties `body`. Raises the parser's `Failure`."""
    child = await _Child.start()
    try:
        for start in range(0, len(body), PIECE):
            await child.send({"type": "piece"}, bytes(body[start : start + PIECE]))
        body.clear()
        told, rest = await child.ask({"type": "parse", "parser": parser}, b"")
        request = await asyncio.to_thread(lambda: PARSERS[parser](read_json(rest)))
    except BaseException:
        child.end()
        raise
    if told["notebook"] is None:
        child.end()
        return request
    return _with_notebook(request, Aside(told["notebook"], child))


def _with_notebook(request: Any, notebook: Aside) -> Any:
    return replace(request, extras=replace(request.extras, notebook=notebook))


class Aside(Mapping[str, Any]):
    """Stands where a notebook would; knows its path and language. Its cells are with the child."""

    def __init__(self, told: Mapping[str, Any], child: _Child) -> None:
        self._told, self._child = dict(told), child
        weakref.finalize(self, child.end)

    def __getitem__(self, name: str) -> Any:
        return self._told[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def __len__(self) -> int:
        return len(self._told)

    async def work(self, job: Job, work: Work, tokenizer: str | None) -> Built | Plan | None:
        """Have it done by the child. tokenizer: a model's folder, or a file. Raises the work's `Failure`."""
        order, blob = await asyncio.to_thread(_packed, job, work, tokenizer)
        _, reply = await self._child.ask({"type": "work", "order": len(order)}, order + blob)
        return await asyncio.to_thread(_unpacked, work, reply)


class _Child:
    """The process; one question at a time. Whoever leaves in the middle of one ends it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._frames = FrameReader()
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def start(cls) -> _Child:
        command = [sys.executable, "-m", "jupyter_mistral.server.http.large_body_child"]
        return cls(
            await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment(os.environ), start_new_session=True
            )
        )

    async def send(self, header: Mapping[str, Any], blob: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(to_frame(header, blob))
            await self._process.stdin.drain()
        except (OSError, RuntimeError):
            raise _gone() from None

    async def ask(self, header: Mapping[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
        """The reply, header and bytes. Raises the child's `Failure`, `internal` where it is gone."""
        async with self._turn:
            try:
                for start in range(0, len(blob), PIECE):
                    await self.send({"type": "piece"}, blob[start : start + PIECE])
                await self.send(header, b"")
                reply, data = await self._reply()
            except BaseException:
                self.end()
                raise
        if reply["type"] == "failed":
            raise Failure.of_dict(reply["failure"])
        return reply, data

    async def _reply(self) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(PIECE):
            for frame in self._frames.feed(data):
                return frame
        raise _gone()

    def end(self) -> None:
        """End it, from whatever thread, as the garbage collector may."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the child saw its input end
            self._loop.call_soon_threadsafe(self._kill)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _gone() -> Failure:
    return Failure(
        "internal",
        "The process that read the notebook ended.",
        "Ask again; if it ends again, clear the largest outputs of the notebook.",
    )


def _packed(job: Job, work: Work, tokenizer: str | None) -> tuple[bytes, bytes]:
    from . import large_body_format

    told, blob = large_body_format.pack_job(job)
    order = {"job": told, "work": large_body_format.pack_work(work), "tokenizer": tokenizer}
    return json.dumps(order).encode(), blob


def _unpacked(work: Work, reply: bytes) -> Built | Plan | None:
    from . import large_body_format

    size = int.from_bytes(reply[:8], "big")
    told, blob = json.loads(reply[8 : 8 + size]), reply[8 + size :]
    if told is None:
        return None
    return large_body_format.unpack_plan(told) if work.gives_plan else large_body_format.unpack_built(told, blob)
