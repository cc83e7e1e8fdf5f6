"""Parses a large request body in a child process: parsing 100 MB of JSON in the server would block everybody.

The child (`large_body_child.py`) keeps the notebook and returns the rest; later it builds prompts from the notebook. It lives as long as
the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import weakref
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import child
from ...protocol.failures import Failure
from ...protocol.parsing import parse_ask, parse_chat
from ...protocol.wire import FrameReader, read_json, to_frame

if TYPE_CHECKING:
    from ...context import Built, Job, Plan
    from .large_body_jobs import Work

# the server needs about 15 ms to parse a body of this size, and serves nobody else meanwhile
LARGE_BYTES = 2**20
PIECE_BYTES = 2**18
PARSERS: dict[str, Callable[[Any], Any]] = {"chat": parse_chat, "ask": parse_ask}


def parser_name(parse: Callable[[Any], Any]) -> str | None:
    """The name of a parser that the child can run, None for any other."""
    return next((name for name, parser in PARSERS.items() if parser is parse), None)


async def parse_in_child(body: bytearray, parser: str) -> Any:
    """The request in a large body; its notebook, if any, is a `NotebookInChild`. Empties `body`. Raises the parser's `Failure`."""
    process = await _Child.start()
    try:
        for start in range(0, len(body), PIECE_BYTES):
            await process.send({"type": "piece"}, bytes(body[start : start + PIECE_BYTES]))
        body.clear()
        header, rest = await process.ask({"type": "parse", "parser": parser}, b"")
        request = await asyncio.to_thread(lambda: PARSERS[parser](read_json(rest)))
    except BaseException:
        process.end()
        raise
    if header["notebook"] is None:
        process.end()
        return request
    notebook = NotebookInChild(header["notebook"], process)
    return replace(request, extras=replace(request.extras, notebook=notebook))


class NotebookInChild(Mapping[str, Any]):
    """Stands in for a notebook: has its path, while its cells are in the child process."""

    def __init__(self, fields: Mapping[str, Any], process: _Child) -> None:
        self._fields, self._process = dict(fields), process
        weakref.finalize(self, process.end)

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    async def work(self, job: Job, work: Work, tokenizer: str | None) -> Built | Plan | None:
        """Have the child do the work. tokenizer: path of a model's folder or of a file. Raises the work's `Failure`."""
        order, images = await asyncio.to_thread(_packed, job, work, tokenizer)
        _, reply = await self._process.ask({"type": "work", "order": len(order)}, order + images)
        return await asyncio.to_thread(_unpacked, work, reply)


class _Child:
    """The child process, which answers one request at a time. Cancelling a request ends it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._frames = FrameReader()
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def start(cls) -> _Child:
        command = child.python("jupyter_mistral.server.http.large_body_child")
        return cls(await child.start(command, env=child.environment(os.environ), stdin=PIPE, stdout=PIPE))

    async def send(self, header: Mapping[str, Any], blob: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(to_frame(header, blob))
            await self._process.stdin.drain()
        except (OSError, RuntimeError):
            raise _has_ended() from None

    async def ask(self, header: Mapping[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
        """The reply, as header and bytes. Raises the child's `Failure`, `internal` if it has ended."""
        async with self._turn:
            try:
                for start in range(0, len(blob), PIECE_BYTES):
                    await self.send({"type": "piece"}, blob[start : start + PIECE_BYTES])
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
        while data := await self._process.stdout.read(PIECE_BYTES):
            for frame in self._frames.feed(data):
                return frame
        raise _has_ended()

    def end(self) -> None:
        """End the process; may be called from any thread, as the garbage collector does."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so the child has seen its input end
            self._loop.call_soon_threadsafe(self._kill)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _has_ended() -> Failure:
    return Failure(
        "internal",
        "The process that reads the notebook stopped.",
        "Try again. If it stops again, clear the largest outputs of the notebook.",
    )


def _packed(job: Job, work: Work, tokenizer: str | None) -> tuple[bytes, bytes]:
    from . import large_body_format

    packed, images = large_body_format.pack_job(job)
    order = {"job": packed, "work": large_body_format.pack_work(work), "tokenizer": tokenizer}
    return json.dumps(order).encode(), images


def _unpacked(work: Work, reply: bytes) -> Built | Plan | None:
    from . import large_body_format

    size = int.from_bytes(reply[:8], "big")
    packed, images = json.loads(reply[8 : 8 + size]), reply[8 + size :]
    if packed is None:
        return None
    return large_body_format.unpack_plan(packed) if work.gives_plan else large_body_format.unpack_built(packed, images)
