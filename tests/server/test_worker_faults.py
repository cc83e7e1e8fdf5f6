"""The worker dies, hangs, is unloaded or does not start: requests get a clear failure and the next one works. Real workers."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_mistral.engine.worker import faults
from jupyter_mistral.server.inference.base import Options, StallTimeouts

LONG = "Count from 1 to 500, one number a line."
SMALL = "smollm2-135m"
Make = Callable[[Options], Any]


async def _until_text(reply: Any) -> None:
    """Read up to the first text; the rest of the stream can be read afterwards."""
    async for chunk in reply.chunks():
        assert chunk != "[DONE]"
        assert "error" not in chunk, chunk
        if chunk["choices"]:
            return


async def _rest(reply: Any) -> tuple[list[Any], dict[str, Any] | None]:
    """All chunks but the error, and the error."""
    chunks = [chunk async for chunk in reply.chunks()]
    if isinstance(chunks[-1], dict) and "error" in chunks[-1]:
        return chunks[:-1], chunks[-1]["error"]
    return chunks, None


async def _gone(pid: int) -> None:
    while psutil.pid_exists(pid):
        await asyncio.sleep(0.05)


@pytest.mark.fault("F1")
async def test_a_worker_killed_mid_stream_fails_that_stream_and_queued_requests_are_answered(own_host: Make) -> None:
    own = own_host(Options(parallel=1))
    pid = await own.load()
    first = await own.peer.chat(LONG, max_tokens=2000)
    await _until_text(first)
    waiting = await own.peer.chat("hi", max_tokens=2)
    os.kill(pid, signal.SIGKILL)
    chunks, error = await _rest(first)
    assert "[DONE]" not in chunks
    assert error is not None
    assert error["code"] == "engine_died"
    assert "memory" in error["message"]
    chunks, error = await _rest(waiting)
    assert error is None
    assert chunks[-1] == "[DONE]"
    assert any(c.get("mistral", {}).get("event") == "loading" for c in chunks[:-1])
    status = await own.peer.status()
    assert status["state"] == "ready"
    assert status["worker_pid"] not in (None, pid)
    await _gone(pid)


@pytest.mark.fault("F8", "F7")
async def test_a_hanging_idle_worker_does_not_stay_ready_and_the_next_request_is_answered(own_host: Make) -> None:
    own = own_host(Options(stall=StallTimeouts(report_s=0.5, kill_s=2)))
    pid = await own.load()
    for _ in range(3):
        assert (await own.peer.status())["worker_pid"] == pid
    os.kill(pid, signal.SIGSTOP)
    status = await own.peer.status()
    while status["state"] == "ready":
        await asyncio.sleep(0.1)
        status = await own.peer.status()
    assert (status["state"], status["worker_pid"]) == ("unloaded", None)
    await _gone(pid)
    _, error = await _rest(await own.peer.chat("hi", max_tokens=2))
    assert error is None
    assert (await own.peer.status())["worker_pid"] not in (None, pid)


@pytest.mark.fault("F1")
async def test_the_next_request_restarts_a_killed_idle_worker(own_host: Make) -> None:
    own = own_host(Options())
    pid = await own.load()
    os.kill(pid, signal.SIGKILL)
    status = await own.peer.until(lambda status: status["worker_pid"] is None)
    assert status["state"] == "unloaded"
    reply = await own.peer.chat("hi", max_tokens=2, stream=False)
    assert reply.status == 200
    await reply.body()


@pytest.mark.fault("F21")
async def test_a_crash_loop_stops_automatic_restarts(own_host: Make) -> None:
    own = own_host(Options(max_crashes=2))
    for _ in range(2):
        reply = await own.peer.chat(LONG, max_tokens=2000)
        await _until_text(reply)
        os.kill((await own.peer.status())["worker_pid"], signal.SIGKILL)
        _, error = await _rest(reply)
        assert error is not None
    status = await own.peer.status()
    assert status["state"] == "failed"
    assert status["failure"]["code"] == "engine_stopped"
    reply = await own.peer.chat("hi", mistral={})
    assert reply.status == 503
    error = (await reply.body())["error"]
    assert error["code"] == "engine_stopped"
    assert "%mistral load" in error["todo"]
    assert (await own.peer.status())["worker_pid"] is None
    # an explicit load ends the crash loop
    await own.load()
    assert (await own.peer.status())["state"] == "ready"


@pytest.mark.fault("F7", "F8")
async def test_a_hanging_worker_is_reported_then_killed(own_host: Make) -> None:
    own = own_host(Options(stall=StallTimeouts(report_s=0.5, kill_s=1.5)))
    pid = await own.load()
    reply = await own.peer.chat(LONG, max_tokens=2000)
    await _until_text(reply)
    os.kill(pid, signal.SIGSTOP)
    stalled = await own.peer.until(lambda status: status["failure"] is not None)
    assert "no progress" in stalled["failure"]["message"]
    chunks, error = await _rest(reply)
    assert any("no progress" in c.get("mistral", {}).get("detail", "") for c in chunks)
    assert error is not None
    assert error["code"] == "engine_died"
    await _gone(pid)
    reply = await own.peer.chat("hi", max_tokens=2, stream=False)
    assert reply.status == 200
    await reply.body()


async def test_unload_ends_the_process_and_the_running_answer(own_host: Make) -> None:
    own = own_host(Options())
    pid = await own.load()
    reply = await own.peer.chat(LONG, max_tokens=2000)
    await _until_text(reply)
    code, status = await own.peer.ask("POST", "/mistral/api/unload", {})
    assert (code, status["state"], status["worker_pid"]) == (200, "unloaded", None)
    assert not psutil.pid_exists(pid)
    _, error = await _rest(reply)
    assert error is not None
    assert error["code"] == "engine_stopped"
    assert "unloaded" in error["message"]


@pytest.mark.fault("F18")
async def test_unload_cancels_a_load(own_host: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.SWITCH, "mute@loading:1")  # the load lasts until it is cancelled
    others = set(psutil.Process().children(recursive=True))  # workers of hosts shared with other tests
    own = own_host(Options())
    reply = await own.peer.send("POST", "/mistral/api/load", {"model": SMALL})
    async for chunk in reply.chunks():
        assert chunk["mistral"]["event"] == "loading"
        break
    while not (children := set(psutil.Process().children(recursive=True)) - others):
        await asyncio.sleep(0.01)
    await own.peer.ask("POST", "/mistral/api/unload", {})
    _, error = await _rest(reply)
    assert error is not None
    assert error["code"] == "cancelled"
    for child in children:
        await _gone(child.pid)
    assert (await own.peer.status())["state"] == "unloaded"


async def test_an_idle_model_is_unloaded(own_host: Make) -> None:
    own = own_host(Options(idle_unload_s=0.5))
    pid = await own.load()
    reply = await own.peer.chat(LONG, max_tokens=60)
    chunks, _ = await _rest(reply)
    assert chunks[-1] == "[DONE]"  # longer than the idle time, yet complete
    await own.peer.until(lambda status: status["worker_pid"] is None)
    await _gone(pid)
    assert (await own.peer.status())["state"] == "unloaded"


async def test_concurrent_requests_for_a_model_share_one_load(own_host: Make) -> None:
    others = set(psutil.Process().children(recursive=True))
    own = own_host(Options())
    loads = [await own.peer.send("POST", "/mistral/api/load", {"model": SMALL}) for _ in range(3)]
    chat = await own.peer.chat("hi", max_tokens=2)
    for reply in (*loads, chat):
        chunks, error = await _rest(reply)
        assert error is None
        assert chunks[-1] == "[DONE]"
        assert any(c.get("mistral", {}).get("event") == "loading" for c in chunks[:-1])
    assert len(set(psutil.Process().children(recursive=True)) - others) == 1
    ready = (await own.peer.status())["model"]["name"]
    assert ready == SMALL


async def test_disconnecting_does_not_cancel_a_load(own_host: Make) -> None:
    own = own_host(Options())
    reply = await own.peer.send("POST", "/mistral/api/load", {"model": SMALL})
    async for _ in reply.chunks():
        break
    reply.leave()
    await own.peer.until(lambda status: status["state"] == "ready")


async def test_loading_another_model_replaces_the_first(own_host: Make) -> None:
    own = own_host(Options())
    pid = await own.load()
    reply = await own.peer.send("POST", "/mistral/api/load", {"model": "qwen2.5-coder-0.5b"})
    chunks, _ = await _rest(reply)
    assert chunks[-2]["mistral"]["event"] == "ready"
    assert chunks[-2]["mistral"]["status"]["model"]["name"] == "qwen2.5-coder-0.5b"
    assert not psutil.pid_exists(pid)


@pytest.mark.fault("F12")
async def test_damaged_weights_are_reported_and_no_process_remains(own_host: Make, mistral_home: Path) -> None:
    models = mistral_home / "models"
    real = models.resolve()
    models.unlink()
    nf4 = models / SMALL / "nf4"
    nf4.mkdir(parents=True)
    for path in (real / SMALL / "nf4").iterdir():
        (nf4 / path.name).write_bytes(path.read_bytes())
    weights = nf4 / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1000] ^= 1
    weights.write_bytes(data)
    others = set(psutil.Process().children(recursive=True))
    own = own_host(Options())
    reply = await own.peer.chat("hi", stream=False)
    body = await reply.body()
    assert reply.status == 503, body
    assert body["error"]["code"] == "corrupt_model"
    assert "model.safetensors" in body["error"]["message"]
    assert (await own.peer.status())["state"] == "failed"
    while set(psutil.Process().children(recursive=True)) - others:
        await asyncio.sleep(0.05)


@pytest.mark.fault("F22")
async def test_a_missing_engine_is_reported_with_the_install_command(
    own_host: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_host(Options())
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if "site-packages" not in entry])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    importlib.invalidate_caches()
    reply = await own.peer.chat("hi", mistral={})
    error = (await reply.body())["error"]
    assert (reply.status, error["code"]) == (503, "engine_missing")
    assert "pip install 'jupyter-mistral[engine]'" in error["todo"]


async def test_the_queue_is_bounded(own_host: Make) -> None:
    own = own_host(Options(max_queue=1, parallel=1))
    await own.load()
    first = await own.peer.chat(LONG, max_tokens=2000)
    await _until_text(first)
    second = await own.peer.chat("hi", max_tokens=2)
    await own.peer.until(lambda status: status["queued"] == 1)
    third = await own.peer.chat("hi", max_tokens=2)
    assert third.status == 429
    assert third.headers["retry-after"]
    assert (await third.body())["error"]["code"] == "busy"
    first.leave()
    chunks, error = await _rest(second)
    assert error is None
    assert chunks[-1] == "[DONE]"


@pytest.mark.fault("F2")
async def test_the_worker_dies_with_its_server(mistral_home: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--model", SMALL]
    host = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        while not (children := psutil.Process(host.pid).children(recursive=True)):
            await asyncio.sleep(0.05)
    finally:
        host.kill()
        host.wait()
    for child in children:
        await _gone(child.pid)
