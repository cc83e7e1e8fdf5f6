"""Parking over HTTP and from a kernel: the next request brings the model back to the GPU."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jupyter_mistral
import pytest
from jupyter_mistral.protocol import CONNECTION_ENV


async def test_a_parked_model_reports_it_and_wakes_with_the_next_request(peer: Any) -> None:
    code, body = await peer.ask("POST", "/mistral/api/park", {})
    assert (code, body["state"]) == (200, "parked") and body["model"]["name"]
    pid = body["worker_pid"]
    chunks = [chunk async for chunk in (await peer.chat("hi", max_tokens=2)).chunks()]
    assert chunks[-1] == "[DONE]"
    status = await peer.status()
    assert (status["state"], status["worker_pid"]) == ("ready", pid), "the same process, nothing was loaded anew"


async def test_loading_a_parked_model_wakes_it(peer: Any) -> None:
    await peer.ask("POST", "/mistral/api/park", {})
    reply = await peer.send("POST", "/mistral/api/load", {"model": None})
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]" and chunks[-2]["mistral"]["status"]["state"] == "ready"


async def test_parking_without_a_model_fails(peer: Any) -> None:
    await peer.ask("POST", "/mistral/api/unload", {})
    code, body = await peer.ask("POST", "/mistral/api/park", {})
    assert (code, body["error"]["code"]) == (503, "engine_stopped")


async def test_lend_gpu_parks_the_model_for_a_block(
    peer: Any, host_info: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "connection.json"
    file.write_text(json.dumps(host_info))
    file.chmod(0o600)
    monkeypatch.setenv(CONNECTION_ENV, str(file))
    loop = asyncio.get_running_loop()

    def work() -> list[str]:
        def state() -> str:
            return str(asyncio.run_coroutine_threadsafe(peer.status(), loop).result()["state"])

        seen = [state()]
        with pytest.raises(ZeroDivisionError), jupyter_mistral.lend_gpu():
            seen.append(state())
            _ = 1 / 0
        return [*seen, state()]

    assert await asyncio.to_thread(work) == ["ready", "parked", "ready"]
