"""Attacks on a real host: hostile notebooks, slow and many clients, another user of the machine, and words that must not be logged."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.host.connection import Connection
from jupyter_mistral.protocol import CONNECTION_ENV, HOME_ENV
from jupyter_mistral.protocol.events import Delta
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.http import handler
from jupyter_mistral.server.http.handler import Route
from jupyter_mistral.server.http.kernel_socket import KernelChannel
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.observe.audit_log import AuditLog

SMALL = "smollm2-135m"
Make = Callable[[Options], Any]


# ---------------------------------------------------------------------------------------------- hostile notebooks

TOKENS = [
    "base_url", "api_key", "engine_url", "engine_model", "engine_key_file", "model", "default_model", "system", "system_prompt",
    "temperature", "max_tokens", "chat_template", "chat_template_kwargs", "tools", "tool_choice", "auto_approve", "approve",
    "trusted", "sovereign", "audit_log", "idle_unload_minutes", "device", "context_length", "max_queue", "kernel_channel",
    "mistral", "jupyter_mistral", "MistralExtension", "MistralMagics", "salt",
]  # fmt: skip


def evil(path: str) -> dict[str, Any]:
    told = {key: f"http://evil.example/{key}" for key in TOKENS} | {"secret_marker": "METADATA-MARKER"}
    cell = {"cell_type": "code", "id": "c", "source": "x = 1", "outputs": [], "execution_count": 1}
    return {"cells": [{**cell, "metadata": told}], "metadata": told, "path": path, "language": "python"}


@pytest.mark.threat("T10")
async def test_a_notebook_its_metadata_and_its_folder_configure_nothing(
    own_host: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(TOKENS) == 30
    folder = tmp_path / "evil"
    folder.mkdir()
    config = "c.MistralExtension.default_model = 'evil'\nopen('touched', 'w')\n"
    names = ["jupyter_server_config.py", "jupyter_config.py", "jupyter_mistral_config.py", "ipython_config.py"]
    for name in [*names, "sitecustomize.py", "usercustomize.py", "conftest.py"]:
        (folder / name).write_text(config)
    for name in ["mistral.json", "jupyter_server_config.json", ".env", "jupyter_mistral.json"]:
        (folder / name).write_text(json.dumps({"MistralExtension": {"default_model": "evil"}}))
    monkeypatch.chdir(folder)
    own = own_host(Options(default_model=SMALL))
    before = (asdict(own.engine.options), await own.peer.status())
    asked = {"messages": [{"role": "user", "content": "What is x?"}], "model": SMALL}
    notebook = evil(str(folder / "n.ipynb"))
    status, built = await own.peer.ask("POST", "/mistral/api/context", {**asked, "mistral": {"notebook": notebook}})
    assert status == 200
    assert "evil.example" not in json.dumps(built) and "METADATA-MARKER" not in json.dumps(built)
    clean = {**notebook, "metadata": {}, "cells": [{**notebook["cells"][0], "metadata": {}}]}
    _, plain = await own.peer.ask("POST", "/mistral/api/context", {**asked, "mistral": {"notebook": clean}})
    assert built["tokens"] == plain["tokens"]  # what the model reads is the same, so is what it costs
    assert (asdict(own.engine.options), await own.peer.status()) == before
    assert not (folder / "touched").exists()


# ---------------------------------------------------------------------------------------------- many, slow and lost clients


@pytest.mark.threat("T25")
async def test_three_hundred_unfinished_requests_block_nobody(own_host: Make) -> None:
    own = own_host(Options(default_model=SMALL))
    slow = [await asyncio.open_unix_connection(own.peer.info["socket"]) for _ in range(300)]
    for i, (_, writer) in enumerate(slow):
        head = b"POST /mistral/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
        body = b"1\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n{"
        writer.write(head + (body if i % 2 else b""))
        await writer.drain()
    try:
        for _ in range(20):
            assert (await own.peer.status())["state"] == "unloaded"
    finally:
        for _, writer in slow:
            writer.transport.abort()


class Endless(Route):
    """Sends numbers as long as somebody reads them."""

    ended = asyncio.Event()

    async def get(self) -> None:
        async def events() -> AsyncGenerator[Delta, None]:
            try:
                while True:
                    yield Delta("1 " * 10_000)
            finally:
                self.ended.set()

        await self.stream(events(), asdict)


@pytest.mark.threat("T25")
async def test_a_client_that_never_reads_is_disconnected_and_frees_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jp_asyncio_loop: Any
) -> None:
    assert handler.SEND_TIMEOUT_S == 30
    monkeypatch.setattr(handler, "SEND_TIMEOUT_S", 0.5)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    channel = KernelChannel([("/mistral/endless", Endless, {})], logging.getLogger("jupyter_mistral"))
    channel.start()
    try:
        info = json.loads(Path(os.environ[CONNECTION_ENV]).read_text())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as idle:
            idle.connect(info["socket"])
            head = f"GET /mistral/endless HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {info['token']}\r\n\r\n"
            idle.sendall(head.encode())
            await asyncio.wait_for(Endless.ended.wait(), 60)
            idle.settimeout(60)
            while await asyncio.to_thread(idle.recv, 2**16):  # what lay in the pipe, and then the end
                pass
    finally:
        await channel.stop()


# ---------------------------------------------------------------------------------------------- another user


@pytest.mark.threat("T30", "T9")
async def test_another_user_can_open_list_and_connect_to_nothing(
    own_host: Make, mistral_home: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if os.geteuid() != 0:
        record_property("not run", 1)
        pytest.skip("1 check not run: only root can become a second user")
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)  # so that it is our own rights that stop the other
    mistral_home.chmod(0o755)
    own = own_host(Options(default_model=SMALL))
    AuditLog(mistral_home / "audit").add({"action": "chat"})
    _, chat = await own.peer.ask("POST", "/mistral/api/chats", {"title": "mine"})
    assert "id" in json.dumps(chat)
    socket = Path(own.peer.info["socket"])
    files = [path for root in (mistral_home / "audit", mistral_home / "chats") for path in [root, *root.rglob("*")]]
    paths = [*files, own.runtime / f"mistral-{os.getpid()}.json", socket, socket.parent]
    script = (
        "import json, os, socket, sys\nos.setgid(65534); os.setuid(65534)\nopened = []\n"
        "for path in json.loads(sys.argv[1]):\n"
        "    for way in (os.listdir, lambda p: open(p, 'rb'), lambda p: open(p, 'ab'),\n"
        "                lambda p: socket.socket(socket.AF_UNIX).connect(p)):\n"
        "        try:\n            way(path)\n        except OSError:\n            continue\n        opened.append(path)\n"
        "print(json.dumps(opened))\n"
    )
    line = [sys.executable, "-S", "-c", script, json.dumps([str(path) for path in paths])]
    done = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    assert len(paths) >= 6 and all(path.exists() for path in paths)
    assert json.loads(out) == []


# ---------------------------------------------------------------------------------------------- words that must not be logged


class Canaries:
    """Words that occur nowhere else."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, kind: str = "") -> str:
        self.words.append(f"{kind}canary{len(self.words)}x{secrets.token_hex(8)}")
        return self.words[-1]


@pytest.fixture
def logged(models_home: Path, tmp_path: Path) -> Iterator[tuple[Client, Path]]:
    """A separate host with verbose logging and its audit log enabled, and the folder of its files."""
    home, runtime, config = (tmp_path / name for name in ("home", "runtime", "config"))
    for folder in (home, runtime, config):
        folder.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    (config / "jupyter_server_config.json").write_text('{"MistralExtension": {"audit_log": true}}')
    environ = {
        **os.environ,
        HOME_ENV: str(home),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(config),
    }
    start = (
        "import logging, sys; from jupyter_mistral.server import standalone; logging.basicConfig(level=logging.DEBUG); "
    )
    start += f"sys.exit(standalone.main(['--model', '{SMALL}']))"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", start], env=environ, stdout=log, stderr=log)
    file = runtime / f"mistral-{process.pid}.json"
    try:
        while not file.exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        connection = Connection.of_file(file)
        assert connection is not None
        yield Client(connection), tmp_path
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def _post(client: Client, path: str, body: Any) -> Any:
    try:
        return client.post(path, body)
    except Failure as failure:
        return failure


@pytest.mark.threat("T28", "T27", "T19")
def test_none_of_forty_words_sent_through_every_route_is_logged(logged: tuple[Client, Path]) -> None:
    client, place = logged
    word = Canaries()
    chat, complete, context = "/mistral/v1/chat/completions", "/mistral/v1/completions", "/mistral/api/context"
    output = {"output_type": "stream", "name": "stdout", "text": word()}
    error = {"output_type": "error", "ename": word(), "evalue": word(), "traceback": [word()]}
    cell = {"cell_type": "code", "id": "a", "metadata": {word(): word()}, "source": f"{word()} = '{word()}'"}
    notebook = {
        "cells": [{**cell, "outputs": [output, {**output, "text": word()}, error], "execution_count": 1}],
        "metadata": {"title": word()},
        "language": word(),
        "path": "n.ipynb",
    }
    mistral = {
        "notebook": notebook,
        "variables": [{"name": word(), "type": word(), "summary": word()}],
        "figures": [word()],
    }

    def message(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    talk = [message("system", word()), message("user", word()), message("assistant", word()), message("user", word())]
    told = {"messages": talk, "model": SMALL, "max_tokens": 4, "user": word(), "metadata": {"a": word()}}
    assert not isinstance(_post(client, chat, {**told, "mistral": mistral}), Failure)
    assert not isinstance(_post(client, chat, {**told, "stop": [word()[:60]]}), Failure)
    assert not isinstance(_post(client, context, {**told, "mistral": mistral}), Failure)
    text = {"prompt": word(), "model": SMALL, "max_tokens": 4}
    assert not isinstance(_post(client, complete, text), Failure)
    _post(client, complete, {**text, "suffix": word()})
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": word()}}}
    _post(client, chat, {**told, "response_format": schema})
    wrong: list[Any] = [
        {**told, word(): 1},
        {**told, "temperature": word()},
        {**told, "model": word()},
        {**told, "mistral": {word(): 1}},
        {**told, "messages": [message(word(), "x")]},
        {
            **told,
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": word("http://")}}]}],
        },
        {
            **told,
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": word("data:image/png;base64,")}]}
            ],
        },
        {**told, "response_format": {"type": word()}},
        {**told, "tools": [{"type": word()}]},
        [word()],
    ]
    for body in wrong:
        assert isinstance(_post(client, chat, body), Failure), body
    _post(client, f"/mistral/api/{word()}?token={word()}", {})
    _post(client, "/mistral/api/load", {"model": word()})
    made = _post(client, "/mistral/api/chats", {"title": word()})
    assert not isinstance(made, Failure)
    _post(client, f"/mistral/api/chats/{made['id']}/ask", {"content": word(), "model": SMALL, "max_tokens": 4})
    # the last output of a worker that dies is logged
    os.kill(int(client.get("/mistral/api/status")["worker_pid"]), signal.SIGKILL)
    while "the model process died" not in (place / "log").read_text(errors="replace"):
        time.sleep(0.05)
    assert len(word.words) >= 40
    kept = (place / "log").read_text(errors="replace")
    kept += "".join(path.read_text() for path in (place / "home" / "audit").glob("*.jsonl"))
    assert "the model process died" in kept and '"action": "chat"' in kept  # it is the right log
    bare = [one.removeprefix("http://").removeprefix("data:image/png;base64,") for one in word.words]
    assert [line for line in kept.splitlines() if any(one in line for one in bare)] == []


@pytest.mark.threat("T28")
def test_a_name_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG):
        AuditLog(tmp_path / "audit").add({"model": 'a\n{"n": 99}\n\x1b]0;x\x07', "action": "chat"})
    raw = next((tmp_path / "audit").glob("*.jsonl")).read_bytes()
    assert raw.count(b"\n") == 1 and b"\x1b" not in raw
