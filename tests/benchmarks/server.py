"""Measures the cost of the server extension: start-up, memory, events per second, delay of the first event: `python tests/benchmarks/server.py`

The parts with a model need a home with smollm2-135m (JUPYTER_MISTRAL_TEST_MODELS or JUPYTER_MISTRAL_HOME). Each figure is a median.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import Delta, End, Event
from jupyter_mistral.protocol.requests import ChatRequest, Extras, Sampling
from jupyter_mistral.protocol.wire import to_chunk
from jupyter_mistral.server.assemble import join
from jupyter_mistral.server.http.handler import Route
from jupyter_mistral.server.http.kernel_socket import KernelChannel
from jupyter_mistral.server.inference.base import Options, StallTimeouts
from jupyter_mistral.server.inference.local import LocalEngine
from jupyter_mistral.server.inference.worker_stream import events_of, to_generate

SMALL = "smollm2-135m"
EVENTS = 20_000
log = logging.getLogger("benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JUPYTER_RUNTIME_DIR"] = folder
        if models := os.environ.get("JUPYTER_MISTRAL_TEST_MODELS"):
            os.environ[HOME_ENV] = models
        print(f"import of the extension, server already imported: {_import_ms(runs):.0f} ms")
        for app in ("server", "lab"):
            # in turns, so that whatever else this machine does falls on both
            pairs = [(_start(app, False), _start(app, True)) for _ in range(runs)]
            print(f"jupyter {app}, plain -> with the extension:")
            for i, what in enumerate(
                ("seconds until it answers", "processor seconds until then", "memory (unique), MB")
            ):
                plain, ours = (statistics.median(pair[j][i] for pair in pairs) for j in (0, 1))
                print(f"  {what}: {plain:.2f} -> {ours:.2f} ({ours - plain:+.2f})")
        asyncio.run(_streams(runs))


# ---------------------------------------------------------------------------------------------- start


def _import_ms(runs: int) -> float:
    code = (
        "import jupyter_server.serverapp, jupyter_server.extension.application, time; t = time.perf_counter();"
        "import jupyter_mistral.server.app; print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", code]
    return 1000 * statistics.median(float(subprocess.check_output(command)) for _ in range(runs))


def _start(app: str, is_ours: bool) -> tuple[float, float, float]:
    """Seconds and CPU seconds to the first answer, and megabytes half a second later."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as out:
        config = {
            "ServerApp": {
                "jpserver_extensions": {"jupyter_mistral": is_ours, "jupyterlab": app == "lab", "notebook": False},
                "open_browser": False,
            },
            "IdentityProvider": {"token": "benchmark"},
        }
        Path(folder, "jupyter_server_config.json").write_text(json.dumps(config))
        environ = {**os.environ, "JUPYTER_CONFIG_DIR": folder, "JUPYTER_RUNTIME_DIR": folder}
        port = _free_port()
        command = [sys.executable, "-m", "jupyter", app, "--allow-root", f"--port={port}", f"--notebook-dir={folder}"]
        begin = time.perf_counter()
        server = subprocess.Popen(command, env=environ, cwd=folder, stdout=out, stderr=out)
        try:
            while not _answers(f"http://127.0.0.1:{port}/api?token=benchmark"):
                assert server.poll() is None, Path(folder, "log").read_text()
                time.sleep(0.005)
            seconds, process = time.perf_counter() - begin, psutil.Process(server.pid)
            used = process.cpu_times()
            time.sleep(0.5)
            return seconds, used.user + used.system, process.memory_full_info().uss / 1e6
        finally:
            server.terminate()
            server.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# ---------------------------------------------------------------------------------------------- streams


class Flood(Route):
    """Events as fast as they can be sent."""

    async def post(self) -> None:
        async def events() -> AsyncGenerator[Event, None]:
            for _ in range(EVENTS):
                yield Delta(" word")

        base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": SMALL}
        await self.stream(events(), lambda event: to_chunk(event, base))


async def _lines(info: dict[str, Any], path: str, body: bytes) -> AsyncIterator[bytes]:
    reader, writer = await asyncio.open_unix_connection(info["socket"])
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {info['token']}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    async for line in reader:
        if line.startswith(b"data: "):
            yield line
    writer.close()


def _info() -> dict[str, Any]:
    file = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / f"mistral-{os.getpid()}.json"
    return dict(json.loads(file.read_text()))


async def _streams(runs: int) -> None:
    channel = KernelChannel([(r"/flood", Flood, {})], log)
    channel.start()
    begin = time.perf_counter()
    count = sum([1 async for _ in _lines(_info(), "/flood", b"")])
    print(
        f"events through SSE over the socket, both ends in one process: {count / (time.perf_counter() - begin):,.0f} a second"
    )
    await channel.stop()
    await _overhead(runs)


async def _overhead(runs: int) -> None:
    """Time to the first text of a cached prompt, over HTTP and directly from the worker."""
    parts = join(Options(), log)
    parts.channel.start()
    engine = parts.engine.engine
    assert isinstance(engine, LocalEngine)
    begin = time.perf_counter()
    async for _ in engine.load(SMALL):
        pass
    print(f"load of {SMALL} in 4 bit, process start included: {time.perf_counter() - begin:.1f} s")
    request = ChatRequest(
        (Message("user", ("Say hello.",)),), Sampling(0.0, max_tokens=8), stream=True, extras=Extras(events=True)
    )
    worker = engine.slot.ready(None)
    assert worker is not None

    async def direct() -> float:
        header, blob = to_generate(request, request.messages)
        return await _first(events_of(worker, header, blob, StallTimeouts()), lambda event: isinstance(event, Delta))

    async def by_http() -> float:
        lines = _lines(_info(), "/mistral/v1/chat/completions", json.dumps(request.to_dict()).encode())
        return await _first(lines, lambda line: b'"content": ' in line)

    await direct()
    alone = [await direct() for _ in range(4 * runs)]
    through = [await by_http() for _ in range(4 * runs)]
    a, b = statistics.median(alone), statistics.median(through)
    print(
        f"first text of a known prompt: engine alone {1000 * a:.1f} ms, by HTTP {1000 * b:.1f} ms ({1000 * (b - a):+.1f} ms)"
    )
    await parts.close()


async def _first(events: AsyncIterator[Any], is_it: Callable[[Any], bool]) -> float:
    """Seconds to the first such event; reads the stream to its end."""
    begin, found = time.perf_counter(), 0.0
    async for event in events:
        if not found and is_it(event):
            found = time.perf_counter() - begin
        if isinstance(event, End):
            break
    return found


if __name__ == "__main__":
    main()
