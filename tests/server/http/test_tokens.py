"""Tokens: named ones, valid for /mistral/v1 only, and one for each kernel, which ends with it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol import CONNECTION_ENV
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import MAX_BODY_BYTES
from jupyter_mistral.server.http.tokens import Tokens
from jupyter_mistral.server.inference.base import Options
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

Make = Callable[[Options], Any]
Jupyter = Callable[..., Any]


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}, "allow_unauthenticated_access": False}}


def _jupyter_mistral(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jupyter_mistral.cli", "token", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# ---------------------------------------------------------------------------------------------- named tokens


@pytest.mark.threat("T35")
async def test_a_named_token_is_valid_for_the_standard_routes_until_it_is_revoked(
    own_host: Make, mistral_home: Path
) -> None:
    peer = own_host(Options()).peer
    made = await asyncio.to_thread(_jupyter_mistral, "create", "editor")
    token = made.stdout.strip()
    assert made.returncode == 0 and token.startswith("jm-") and len(token) > 40
    assert (await peer.ask("GET", "/mistral/v1/models", headers=_bearer(token)))[0] == 200
    for path in ("/mistral/api/status", "/mistral/health", "/mistral/v1", "/mistral/v11/x", "/mistral"):
        assert (await peer.ask("GET", path, headers=_bearer(token)))[0] == 403, path
    told = await asyncio.to_thread(_jupyter_mistral, "list")
    assert "editor" in told.stdout and token not in told.stdout
    assert (await asyncio.to_thread(_jupyter_mistral, "revoke", "editor")).returncode == 0
    assert (await peer.ask("GET", "/mistral/v1/models", headers=_bearer(token)))[0] == 401
    assert "No tokens" in (await asyncio.to_thread(_jupyter_mistral, "list")).stdout


@pytest.mark.threat("T30")
def test_only_a_hash_is_stored_and_only_its_owner_can_read_it(mistral_home: Path) -> None:
    keys = Tokens()
    token = keys.create("a")
    other = keys.create("b")
    path = mistral_home / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in path.read_text() and other not in path.read_text()
    assert Tokens().name(token) == "a" and Tokens().name(other) == "b"
    assert Tokens().name(token + "x") is None and Tokens().name("") is None
    with pytest.raises(Failure, match="already"):
        keys.create("a")
    for name in ("", "../x", "a b", "x" * 65, "é"):
        with pytest.raises(Failure):
            keys.create(name)
    with pytest.raises(Failure, match="no token named c"):
        keys.revoke("c")


@pytest.mark.threat("T30")
def test_tokens_in_a_file_that_others_can_write_are_invalid(mistral_home: Path) -> None:
    token = Tokens().create("a")
    (mistral_home / "tokens.json").chmod(0o622)
    with pytest.raises(Failure, match=r"writable by other users.*create your tokens again"):
        Tokens().name(token)


@pytest.mark.threat("T30")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_tokens_in_a_file_of_another_user_are_invalid_and_the_error_names_the_user(mistral_home: Path) -> None:
    token = Tokens().create("a")
    os.chown(mistral_home / "tokens.json", 65534, -1)
    with pytest.raises(Failure) as caught:
        Tokens().name(token)
    assert "belongs to another user (uid 65534)" in caught.value.message
    assert "chown" in caught.value.todo and "JUPYTER_MISTRAL_HOME" in caught.value.todo
    assert "Delete" not in caught.value.todo


async def _on_jupyter(app: Any, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    url = f"http://127.0.0.1:{app.port}{app.base_url}{path}"
    method = "GET" if body is None else "POST"
    reply = await AsyncHTTPClient().fetch(HTTPRequest(url, method, headers, body), raise_error=False)
    return reply.code


@pytest.fixture
def app(
    jp_serverapp: Any, http_server: Any, mistral_home: Path, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Any]:
    """A running Jupyter server with the extension started."""
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.start_all_extensions())
    yield jp_serverapp
    jp_asyncio_loop.run_until_complete(jp_serverapp.kernel_manager.shutdown_all(now=True))
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.stop_all_extensions())


@pytest.mark.threat("T9", "T35")
async def test_a_named_token_works_on_the_jupyter_port_for_our_routes_only(app: Any) -> None:
    token = Tokens().create("editor")
    assert await _on_jupyter(app, "mistral/v1/models", _bearer(token)) == 200
    # a POST with a token needs no XSRF token: a browser does not send the header by itself
    kind = {"Content-Type": "application/json"}
    assert await _on_jupyter(app, "mistral/v1/completions", {**_bearer(token), **kind}, b"{}") == 400
    for path in ("mistral/api/status", "mistral/health", "api/contents", "api/kernels", "api/status"):
        assert await _on_jupyter(app, path, _bearer(token)) in (401, 403), path
    for more in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert await _on_jupyter(app, "mistral/v1/models", {**_bearer(token), **more}) == 403, more
    Tokens().revoke("editor")
    assert await _on_jupyter(app, "mistral/v1/models", _bearer(token)) in (401, 403)


# ---------------------------------------------------------------------------------------------- kernels


ASK = """
import json, os, sys
info = json.load(open(os.environ["JUPYTER_MISTRAL_CONNECTION_FILE"]))
from jupyter_mistral.kernel.host.client import Client
state = Client.find(start=False).get("/mistral/api/status")["state"]
print(json.dumps([os.environ["JUPYTER_MISTRAL_CONNECTION_FILE"], info["token"], state]))
"""


async def _run(app: Any, kernel_id: str, code: str) -> str:
    """The output of a cell in a kernel of the server."""
    client = app.kernel_manager.get_kernel(kernel_id).client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=300)
        printed: list[str] = []

        def note(message: Any) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = await client.execute_interactive(code, output_hook=note, timeout=300)
        assert reply["content"]["status"] == "ok", reply
        return "".join(printed)
    finally:
        client.stop_channels()


class _Socket:
    """A client with a kernel's connection file."""

    def __init__(self, path: str, token: str) -> None:
        self.path, self.token = path, token

    async def status(self, address: str) -> int:
        reader, writer = await asyncio.open_unix_connection(self.path)
        head = f"GET {address} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n\r\n"
        writer.write(head.encode())
        line = await reader.readline()
        writer.close()
        return int(line.split()[1])


@pytest.mark.threat("T9")
async def test_each_kernel_gets_a_token_that_ends_with_it(app: Any) -> None:
    manager = app.kernel_manager
    kernels = [await manager.start_kernel(kernel_name="python3") for _ in range(2)]
    told = [json.loads(await _run(app, kernel, ASK)) for kernel in kernels]
    own = json.loads(Path(os.environ[CONNECTION_ENV]).read_text())
    assert len({own["token"], app.identity_provider.token, *(token for _, token, _ in told)}) == 4
    for path, _, state in told:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert state in ("absent", "unloaded")
    first, second = (_Socket(own["socket"], token) for _, token, _ in told)
    assert await first.status("/mistral/api/status") == 200
    assert await first.status("/mistral/v1/models") == 200
    assert await _on_jupyter(app, "api/contents", _bearer(first.token)) in (401, 403)
    assert await _on_jupyter(app, "mistral/v1/models", _bearer(first.token)) in (401, 403)

    # one kernel is killed from outside, without anybody to restart it
    manager.get_kernel(kernels[0]).stop_restarter()
    await manager.get_kernel(kernels[0]).signal_kernel(9)
    while await manager.get_kernel(kernels[0]).is_alive():
        await asyncio.sleep(0.01)
    assert await first.status("/mistral/api/status") == 401
    assert await second.status("/mistral/api/status") == 200

    # the other is shut down by Jupyter, which also removes its file
    await manager.shutdown_kernel(kernels[1], now=True)
    assert await second.status("/mistral/api/status") == 401
    while os.path.exists(told[1][0]):
        await asyncio.sleep(0.05)


@pytest.mark.threat("T9")
async def test_a_kernel_keeps_its_token_when_it_is_restarted_and_its_notebook_renamed(app: Any) -> None:
    manager = app.kernel_manager
    kernel = await manager.start_kernel(kernel_name="python3")
    path, token, _ = json.loads(await _run(app, kernel, ASK))
    manager.update_env(kernel_id=kernel, env={**os.environ, "JPY_SESSION_NAME": "new.ipynb"})
    await manager.restart_kernel(kernel)
    assert json.loads(await _run(app, kernel, ASK))[:2] == [path, token]


# ---------------------------------------------------------------------------------------------- clients without access


@pytest.mark.threat("T8")
async def test_a_client_without_a_token_learns_only_that(app: Any, own_host: Make) -> None:
    peer = own_host(Options()).peer
    path = "/mistral/v1/chat/completions"
    bad: list[dict[str, str]] = [
        {"Content-Length": ""},
        {"Content-Length": "", "Transfer-Encoding": "chunked"},
        {"Content-Type": "text/plain"},
        {"Content-Length": str(MAX_BODY_BYTES + 1)},
    ]
    for headers in bad:
        reply = await peer.send("POST", path, raw=b"", headers={**headers, "Authorization": "Bearer wrong"})
        assert reply.status == 401, headers
        host = f"127.0.0.1:{app.port}"
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        sent = {"Host": host, "Content-Length": "0", "Content-Type": "application/json"} | headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
        writer.write(f"POST {app.base_url.rstrip('/')}{path} HTTP/1.1\r\n{lines}\r\n".encode())
        assert int((await reader.readline()).split()[1]) in (401, 403), headers
        writer.close()


@pytest.mark.threat("T6", "T7")
async def test_the_port_of_serve_checks_host_and_origin(own_host: Make) -> None:
    own = own_host(Options())
    await own.parts.channel.stop()
    own.parts.channel.start(port=0)
    url = f"{own.parts.channel.url}/mistral/v1/models"
    good = _bearer(own.parts.channel.token)

    async def told(headers: dict[str, str]) -> int:
        return (await AsyncHTTPClient().fetch(HTTPRequest(url, headers=headers), raise_error=False)).code

    assert await told(good) == 200
    for more in ({"Host": "evil.example"}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-site"}):
        assert await told({**good, **more}) == 403, more
