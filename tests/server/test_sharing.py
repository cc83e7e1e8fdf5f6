"""Several users of one model host, each with a token."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.server.external.config import ExternalConfig
from jupyter_mistral.server.external.http import Key
from jupyter_mistral.server.http.tokens import Tokens
from jupyter_mistral.server.inference.base import Options

SMALL = "smollm2-135m"
CHAT = "/mistral/v1/chat/completions"
LONG = "Here is what only I know: " + "the rose is red, the violet is blue. " * 20


def body(text: str, tokens: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "model": SMALL, "max_tokens": tokens, "temperature": 0}


def as_holder(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


@pytest.mark.threat("T29")
async def test_token_holders_do_not_share_a_prefix_cache(own_host: Callable[..., Any]) -> None:
    host = own_host(Options())
    ann, bob = Tokens().create("ann"), Tokens().create("bob")
    cached = []
    for token in (ann, ann, bob, bob):
        status, answer = await host.peer.ask("POST", CHAT, body(LONG, 1), **as_holder(token))
        assert status == 200, answer
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached[1] > 100
    # the beginning of the chat template is no secret and may be shared
    assert cached[2] < 50
    assert cached[3] > 100


@pytest.mark.fault("F15")
async def test_one_users_many_questions_do_not_delay_anothers(own_host: Callable[..., Any]) -> None:
    host = own_host(Options())
    await host.load()
    ann, bob = Tokens().create("ann"), Tokens().create("bob")
    done: list[str] = []

    async def ask(who: str, token: str) -> None:
        status, answer = await host.peer.ask("POST", CHAT, body("Count.", 24), **as_holder(token))
        assert status == 200, answer
        done.append(who)

    many = [asyncio.create_task(ask("ann", ann)) for _ in range(12)]
    # on fast machines the first are answered before the last arrive
    await host.peer.until(lambda status: status["running"] + status["queued"] + len(done) >= 12)
    before = len(done)
    await asyncio.gather(ask("bob", bob), *many)
    # after those already running, before most of those waiting
    assert done.index("bob") < before + 9, done


async def test_a_users_own_server_asks_a_shared_one(
    own_host: Callable[..., Any], models_home: Path, tmp_path: Path
) -> None:
    """As on a hub: one process has the model; each user's server has its URL and a token."""
    home = tmp_path / "shared"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    environ = {**os.environ, "JUPYTER_RUNTIME_DIR": str(home), "JUPYTER_MISTRAL_HOME": str(home)}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--port", "0", "--model", SMALL]
    shared = await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=DEVNULL)
    try:
        assert shared.stdout is not None
        url = (await shared.stdout.readline()).decode().strip()
        token = Tokens(home).create("ann")
        host = own_host(Options(), ExternalConfig(url, key=Key(text=token)))
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
        asked = {**body("A number.", 30), "response_format": form, "mistral": {"events": True}, "stream": True}
        reply = await host.peer.send("POST", CHAT, asked)
        chunks = [chunk async for chunk in reply.chunks()]
        assert chunks[-1] == "[DONE]", chunks
        progress = {chunk["mistral"]["event"] for chunk in chunks[:-1] if "event" in chunk.get("mistral", {})}
        assert "reading" in progress
        status = await host.peer.status()
        assert status["seal"] == {
            "kind": "outside",
            "measured": False,
            "reason": f"this machine, another program: {url.split('/')[2]}",
        }
        assert (status["engine"]["program"], status["engine"]["prefix"]) == ("Jupyter Mistral", "told")
        assert status["model"]["context_length"] > 2000
        Tokens(home).revoke("ann")
        code, refused = await host.peer.ask("POST", CHAT, body("Count.", 4))
        assert (code, refused["error"]["code"]) == (503, "engine_refused")
    finally:
        shared.send_signal(signal.SIGTERM)
        await shared.wait()
