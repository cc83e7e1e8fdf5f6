"""Model hosts for tests: one process shared by all tests of this folder, or one per test in its own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zygote
from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.server.assemble import Parts, join
from jupyter_mistral.server.external.config import ExternalConfig
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.inference.local import LocalEngine
from jupyter_mistral.server.observe.audit_log import AuditLog

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))  # pytest's importlib mode does not

import tiny_talker

SMALL, EMBEDDED = "smollm2-135m", "qwen2.5-coder-0.5b"
Chunk = dict[str, Any]


class Reply:
    """An HTTP response whose head has arrived; the body is read on demand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._chunks: AsyncIterator[Chunk | str] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> Reply:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        return self

    async def _pieces(self) -> AsyncIterator[bytes]:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            yield await self._reader.readexactly(int(self.headers.get("content-length", 0)))
            return
        while size := int(await self._reader.readline(), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)

    async def body(self) -> Any:
        raw = b"".join([piece async for piece in self._pieces()])
        return json.loads(raw) if raw else None

    async def lines(self) -> AsyncIterator[str]:
        """Lines of the stream, blank ones left out, comments kept."""
        rest = b""
        async for piece in self._pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line:
                    yield line.decode()

    def chunks(self) -> AsyncIterator[Chunk | str]:
        """The stream's data, continued where an earlier call stopped; `[DONE]` as text."""
        if self._chunks is None:
            self._chunks = self._read_chunks()
        return self._chunks

    async def _read_chunks(self) -> AsyncIterator[Chunk | str]:
        async for line in self.lines():
            if line.startswith("data: "):
                yield line[6:] if line == "data: [DONE]" else json.loads(line[6:])

    def leave(self) -> None:
        """Disconnect like a closed tab."""
        self._writer.transport.abort()


class Peer:
    """An HTTP client of a host's unix socket, without any client code of ours."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.token = info["token"]
        self._open: list[asyncio.StreamWriter] = []

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = {
            "Host": "localhost",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
        } | (headers or {})
        reader, writer = await asyncio.open_unix_connection(self.info["socket"], limit=2**24)
        self._open.append(writer)
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        return await Reply(reader, writer).read_head()

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        reply = await self.send(method, path, body, **more)
        return reply.status, await reply.body()

    async def chat(self, text: str, **more: Any) -> Reply:
        """A greedy streamed chat with progress events; `more` overrides fields."""
        mistral = more.pop("mistral", {"events": True})
        body = {
            "messages": [{"role": "user", "content": text}],
            "model": SMALL,
            "stream": True,
            "temperature": 0,
            "mistral": mistral,
            **more,
        }
        return await self.send("POST", "/mistral/v1/chat/completions", body)

    async def status(self) -> dict[str, Any]:
        _, status = await self.ask("GET", "/mistral/api/status")
        return dict(status)

    async def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll the status until the condition holds; pytest's timeout ends an endless wait."""
        while not is_so(status := await self.status()):
            await asyncio.sleep(0.05)
        return status

    def close(self) -> None:
        for writer in self._open:
            writer.close()


def _info(runtime: Path, pid: int) -> dict[str, Any]:
    return dict(json.loads((runtime / f"mistral-{pid}.json").read_text()))


@pytest.fixture(scope="session")
def models_home(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As everywhere, but with small random weights: what a model says does not matter here."""
    home = tmp_path_factory.mktemp("models_home")
    for name, window in ((SMALL, 8192), (EMBEDDED, 32_768)):
        here, real = (place / "models" / name for place in (home, models_home))
        tiny_talker.build(here / "nf4", real / "nf4", window=window)
        (here / "source").symlink_to(real / "source")
    return home


@pytest.fixture(scope="session")
def host_info(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """`jupyter_mistral.server.standalone` as a process of its own, with the small model loaded."""
    folder = tmp_path_factory.mktemp("host")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    environ = {**os.environ, HOME_ENV: str(home), "JUPYTER_RUNTIME_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--model", SMALL]
        host = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        while not (folder / f"mistral-{host.pid}.json").exists():
            assert host.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield _info(folder, host.pid)
    finally:
        host.send_signal(signal.SIGTERM)
        assert host.wait(120) == 0, (folder / "log").read_text()


@pytest.fixture
def peer(host_info: dict[str, Any], jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Peer]:
    """A client of the shared host, which is idle when the test begins."""
    peer = Peer(host_info)

    async def load() -> None:
        reply = await peer.send("POST", "/mistral/api/load", {"model": SMALL})
        assert [chunk async for chunk in reply.chunks()][-1] == "[DONE]"
        await peer.until(lambda status: not status["running"])

    jp_asyncio_loop.run_until_complete(load())
    yield peer
    jp_asyncio_loop.run_until_complete(_closed(peer))


async def _closed(peer: Peer) -> None:
    peer.close()
    await asyncio.sleep(0)


class Own:
    """A host in the test's own event loop, whose parts the test can inspect."""

    def __init__(self, parts: Parts, runtime: Path) -> None:
        self.parts, self.runtime = parts, runtime
        self.peer = Peer(_info(runtime, os.getpid()))

    @property
    def engine(self) -> LocalEngine:
        engine = self.parts.engine.engine
        assert isinstance(engine, LocalEngine)
        return engine

    async def load(self) -> int:
        """Load the small model; returns the worker's process id."""
        async with contextlib.aclosing(self.engine.load(SMALL)) as progress:
            async for _ in progress:
                pass
        pid = (await self.engine.status()).worker_pid
        assert pid is not None
        return pid


@pytest.fixture
def own_host(
    mistral_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[..., Own]]:
    """Makes hosts with the given options and closes them after the test."""
    made: list[Own] = []
    runtime = tmp_path / "runtime"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    zygote.begin()

    def make(options: Options, external: ExternalConfig | None = None, audit: AuditLog | None = None) -> Own:
        parts = join(options, logging.getLogger("jupyter_mistral"), external, audit, zygote.launch)
        parts.channel.start()
        made.append(Own(parts, runtime))
        return made[-1]

    yield make
    for own in made:
        own.peer.close()
        jp_asyncio_loop.run_until_complete(own.parts.close())
