"""The status after an unload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyter_mistral.server.inference.base import Options

SMALL = "smollm2-135m"


async def test_unload_clears_the_failure_of_a_load(own_host: Callable[..., Any]) -> None:
    peer = own_host(Options(default_model=SMALL)).peer
    reply = await peer.send("POST", "/mistral/api/load", {"model": "no-such-model"})
    assert "unknown_model" in str(await reply.body() if reply.status != 200 else [c async for c in reply.chunks()])
    status = await peer.status()
    assert (status["state"], status["failure"]["code"]) == ("failed", "unknown_model")
    assert (await peer.ask("POST", "/mistral/api/unload", {}))[0] == 200
    status = await peer.status()
    assert (status["state"], status["failure"]) == ("unloaded", None)
    assert (await peer.ask("GET", "/mistral/health"))[0] == 200
