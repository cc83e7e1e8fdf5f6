"""Many clients at once, some of which disconnect: nothing fails and nothing is left behind. Speed is measured by a benchmark."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.server.inference.base import Options

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "endpoint.py"


@pytest.mark.slow
def test_many_clients_leave_no_error_request_or_task_behind(models_home: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--clients=30", "--rounds=1", "--tokens=4"]
    environ = {**os.environ, "JUPYTER_MISTRAL_TEST_MODELS": str(models_home)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 requests" in done.stdout
    assert "5xx: 0" in done.stdout
    assert "left behind: 0 tasks [], 0 running, 0 queued" in done.stdout


def _open_resources() -> tuple[int, int]:
    """Tasks and descriptors of this process."""
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.fault("F15", "F16", "F17")
async def test_clients_that_disconnect_leave_nothing_behind(own_host: Callable[..., Any]) -> None:
    own = own_host(Options())
    await own.load()
    first = await own.peer.chat("Hello.", max_tokens=2)
    assert [chunk async for chunk in first.chunks()][-1] == "[DONE]"
    own.peer.close()
    await own.peer.until(lambda status: not status["running"])
    own.peer.close()
    before = _open_resources()  # including everything that a first answer opens
    while (now := _open_resources()) != before:
        before = now
        await asyncio.sleep(0.2)
    replies = await asyncio.gather(*(own.peer.chat(f"{n}?", max_tokens=4 if n % 3 else 2000) for n in range(12)))
    for reply in replies[::3]:
        reply.leave()
    for reply in replies[1::3] + replies[2::3]:
        chunks = [chunk async for chunk in reply.chunks()]
        assert chunks[-1] == "[DONE]" and not any("error" in chunk for chunk in chunks)
    await own.peer.until(lambda status: not status["running"] and not status["queued"])
    own.peer.close()
    # pytest's timeout ends an endless wait
    while any(now > then for now, then in zip(_open_resources(), before, strict=True)):
        await asyncio.sleep(0.05)
