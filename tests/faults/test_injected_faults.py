"""The real worker fails at a given frame (`engine/worker/faults.py`): the user gets a clear failure and the next answer works.

With --all the worker is killed at every piece of text, else at three of them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from effort import IS_ALL
from jupyter_mistral.engine.worker import faults
from jupyter_mistral.server.inference.base import Options, StallTimeouts
from jupyter_mistral.server.inference.worker import STDERR_BYTES

LONG = "Count from 1 to 500, one number a line."
MANY = 10_000  # crashes: the crash loop has a test of its own
Make = Callable[[Options], Any]


async def answer(own: Any, text: str = LONG, **more: Any) -> tuple[list[str], dict[str, Any] | None, bool]:
    """Pieces of text, the error if one came, whether [DONE] came."""
    reply = await own.peer.chat(text, **{"max_tokens": 60, **more})
    if reply.status != 200:
        return [], (await reply.body())["error"], False
    pieces: list[str] = []
    error, done = None, False
    async for chunk in reply.chunks():
        if chunk == "[DONE]":
            done = True
        elif "error" in chunk:
            error = chunk["error"]
        else:
            pieces += [c["delta"]["content"] for c in chunk["choices"] if c["delta"].get("content")]
    return pieces, error, done


async def works(own: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """The next request is answered whole; the worker that did it."""
    monkeypatch.delenv(faults.SWITCH)
    pieces, error, done = await answer(own, max_tokens=3)
    assert (error, done) == (None, True) and pieces
    status = await own.peer.status()
    assert (status["state"], status["running"], status["queued"]) == ("ready", 0, 0)
    return int(status["worker_pid"])


@pytest.mark.fault("F1", "F6", "F20")
@pytest.mark.threat("T31")
async def test_text_before_a_worker_death_or_a_broken_frame_is_kept(
    own_host: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_host(Options(max_crashes=MANY))
    complete, _, _ = await answer(own)
    assert len(complete) > 4
    await own.engine.unload()
    places = range(1, len(complete)) if IS_ALL else (1, 2, len(complete) - 1)
    for fault in [*(f"kill@delta:{n}" for n in places), "garbage@delta:3", "half@delta:3", "huge@delta:3"]:
        monkeypatch.setenv(faults.SWITCH, fault)
        pieces, error, done = await answer(own)
        assert error is not None and error["code"] == "engine_died" and not done, fault
        # nothing lost, nothing doubled, in order
        assert len(pieces) == int(fault.rpartition(":")[2]) - 1
        assert "".join(complete).startswith("".join(pieces))
        assert (await own.peer.status())["worker_pid"] is None
    await works(own, monkeypatch)


@pytest.mark.fault("F4", "F5", "F20")
async def test_out_of_memory_fails_only_that_request_and_stderr_is_bounded(
    own_host: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_host(Options())
    monkeypatch.setenv(faults.SWITCH, "memory@reading:1,memory@delta:3,flood@delta:6")
    pid = await own.load()
    failed = []
    while "memory@delta" not in failed:
        pieces, error, done = await answer(own, "Many words. " * 700 if not failed else LONG)
        assert error is not None and error["code"] == "no_memory" and error["todo"] and not done
        failed.append("memory@delta" if pieces else "memory@reading")
    assert failed == ["memory@reading", "memory@delta"]
    pieces, error, done = await answer(own)  # 32 MB of complaints meanwhile
    assert (error, done) == (None, True) and len(pieces) > 3
    assert len(own.engine.slot.worker.stderr_tail) <= STDERR_BYTES
    assert await works(own, monkeypatch) == pid  # the same worker through all of it


@pytest.mark.fault("F3")
async def test_out_of_memory_while_loading_is_reported_and_does_not_loop(
    own_host: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_host(Options())
    monkeypatch.setenv(faults.SWITCH, "memory@loading:1")
    _, error, done = await answer(own)
    assert error is not None and error["code"] == "no_memory" and not done
    status = await own.peer.status()
    assert (status["state"], status["worker_pid"]) == ("failed", None)
    assert status["failure"]["code"] == "no_memory"
    await works(own, monkeypatch)


@pytest.mark.fault("F21", "F18")
async def test_a_worker_that_always_dies_while_loading_is_started_three_times(
    own_host: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_host(Options(max_crashes=3))
    monkeypatch.setenv(faults.SWITCH, "kill@loading:1")
    codes = []
    for _ in range(5):
        _, error, _ = await answer(own)
        assert error is not None
        codes.append(error["code"])
    assert codes == ["engine_died"] * 3 + ["engine_stopped"] * 2
    monkeypatch.delenv(faults.SWITCH)
    await own.load()  # asking by name is the "try again"


@pytest.mark.fault("F7", "F8")
async def test_a_silent_worker_is_reported_then_replaced(own_host: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_host(Options(stall=StallTimeouts(report_s=0.5, kill_s=2, prefill_tokens_per_s=1e6)))
    monkeypatch.setenv(faults.SWITCH, "mute@delta:3")
    pid = await own.load()
    pieces, error, done = await answer(own)
    assert error is not None and error["code"] == "engine_died" and not done
    assert len(pieces) == 2 and "no progress" in error["message"]
    assert not psutil.pid_exists(pid)


@pytest.mark.fault("F7")
def test_one_gate_alone_enables_no_faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    made = []

    def kind(environ: dict[str, str]) -> type:
        # each link takes a descriptor for itself
        made.append(faults.make_link(os.dup(theirs.fileno()), environ))
        return type(made[-1])

    try:
        assert kind({}) is faults.Link
        assert kind({faults.SWITCH: "kill@delta:1"}) is faults.FaultyLink
        with pytest.raises(ValueError, match="is not a list of faults"):
            kind({faults.SWITCH: "anything"})
        monkeypatch.setattr(faults, "_GATE", tmp_path / "none")
        assert kind({faults.SWITCH: "kill@delta:1"}) is faults.Link
    finally:
        for link in made:
            link._socket.close()
        ours.close()
        theirs.close()
