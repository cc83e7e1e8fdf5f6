"""An HTTP server that fails like real engines and networks do. Reached over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

CHAT = "/v1/chat/completions"


@dataclass
class Asked:
    """A received request. left: set once the client has closed the connection."""

    path: str
    headers: dict[str, str]
    body: Any
    left: asyncio.Event


Act = Callable[[asyncio.StreamWriter, Asked], Awaitable[None]]


def say(status: int, body: Any, **headers: str) -> Act:
    """A complete answer."""

    async def act(writer: asyncio.StreamWriter, asked: Asked) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n{more}\r\n".encode() + raw
        )

    return act


def stream(*pieces: Any, then: str = "done") -> Act:
    """Server-sent events; bytes are sent unchanged. then: done, end (without [DONE]), cut (in the middle of the body), hold."""

    async def act(writer: asyncio.StreamWriter, asked: Asked) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in [*pieces, *([b"data: [DONE]\n\n"] if then == "done" else [])]:
            raw = piece if isinstance(piece, bytes) else b"data: " + json.dumps(piece).encode() + b"\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(raw), raw))
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        if then in ("done", "end"):
            writer.write(b"0\r\n\r\n")
        if then == "hold":
            await asked.left.wait()

    return act


async def be_silent(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Half open: the connection is up but nothing arrives."""
    await asked.left.wait()


async def hang_up(writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.transport.abort()


def text(words: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 40, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 30}},
}
MODELS = {"object": "list", "data": [{"id": "big", "owned_by": "vllm", "max_model_len": 9000}, {"id": "small"}]}
WHOLE = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


class BrokenEngine:
    """Runs the actions in `script` for a path once each, in order; then the one in `always`; else 404."""

    def __init__(self) -> None:
        self.script: dict[str, deque[Act]] = defaultdict(deque)
        self.always: dict[str, Act] = {"/v1/models": say(200, MODELS)}
        self.asked: list[Asked] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def of(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(lines[0].split()[1], headers, json.loads(raw) if raw else None, asyncio.Event())
        self.asked.append(asked)
        waiting = self.script[asked.path]
        act = waiting.popleft() if waiting else self.always.get(asked.path, say(404, {"error": {"message": "no"}}))
        watching = asyncio.create_task(self._watch(reader, asked))
        try:
            await act(writer, asked)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        finally:
            watching.cancel()

    async def _watch(self, reader: asyncio.StreamReader, asked: Asked) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(2**16):
                pass
        asked.left.set()
