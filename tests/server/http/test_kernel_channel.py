"""The kernels' channel: only its owner can open its files and socket, its token is valid for nothing else, and it removes its files."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol import CONNECTION_ENV, PROTOCOL
from jupyter_mistral.server.http.kernel_socket import sweep
from jupyter_mistral.server.inference.base import Options

Make = Callable[[Options], Any]


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"jupyter_mistral": True}}}


def _mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.threat("T30")
async def test_only_the_owner_can_open_the_socket_and_the_file(own_host: Make) -> None:
    own = own_host(Options())
    info = own.peer.info
    assert info.keys() == {"pid", "socket", "token", "protocol"}
    assert (info["pid"], info["protocol"]) == (os.getpid(), PROTOCOL)
    assert len(info["socket"]) < 100
    assert _mode(info["socket"]) == 0o600
    assert _mode(Path(info["socket"]).parent) == 0o700
    file = own.runtime / f"mistral-{os.getpid()}.json"
    assert _mode(file) == 0o600
    assert _mode(own.runtime) == 0o700
    assert os.environ[CONNECTION_ENV] == str(file)
    assert info["token"] not in os.environ[CONNECTION_ENV]
    status, _ = await own.peer.ask("GET", "/mistral/api/status")
    assert status == 200


@pytest.mark.threat("T30")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_disconnected_even_if_file_permissions_allow_access(own_host: Make) -> None:
    own = own_host(Options())
    path = own.peer.info["socket"]
    folder = Path(path).parent
    ask = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n    s.connect(sys.argv[1])\nexcept PermissionError:\n    print('closed'); sys.exit()\n"
        "try:\n"
        f"    s.sendall(b'GET /mistral/api/status HTTP/1.1\\r\\nHost: localhost\\r\\nAuthorization: Bearer {own.peer.token}\\r\\n\\r\\n')\n"
        "    print(s.recv(100))\n"
        "except ConnectionError:\n    print(b'')\n"
    )

    async def answer() -> str:
        command = [sys.executable, "-c", ask, path]
        child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        out, _ = await child.communicate()
        return out.decode().strip()

    assert await answer() == "closed"
    folder.chmod(0o755)
    os.chmod(path, 0o666)
    assert await answer() == "b''"


async def test_stopping_removes_all_files(own_host: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTION_ENV, "/elsewhere")
    own = own_host(Options())
    await own.parts.channel.stop()
    assert not list(own.runtime.glob("mistral-*"))
    assert not Path(own.peer.info["socket"]).parent.exists()
    assert os.environ[CONNECTION_ENV] == "/elsewhere"


def test_files_of_killed_servers_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = tmp_path / "jmistral-old"
    folder.mkdir()
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    left = {"pid": gone.pid, "socket": str(folder / "s"), "token": "x"}
    files = {
        "mistral-1.json": left,
        "mistral-2.json": {**left, "socket": str(elsewhere / "s")},
        "mistral-3.json": {**left, "pid": os.getpid()},
    }
    for name, info in files.items():
        (tmp_path / name).write_text(json.dumps(info))
    (tmp_path / "mistral-4.json").write_text("garbage")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["mistral-3.json", "mistral-4.json"]
    assert not folder.exists()
    assert elsewhere.exists()


async def test_folders_of_killed_servers_are_removed_even_if_their_runtime_folder_is_gone(
    own_host: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lives = Path(own_host(Options()).peer.info["socket"]).parent
    killed, none, young, other = (tmp_path / f"jmistral-{name}" for name in ("killed", "none", "young", "other"))
    for folder in (killed, none, young):
        folder.mkdir(mode=0o700)
    for path in (killed / "s", young / "n"):  # a socket that does not listen yet has not got its name
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    (killed / "kernel.json").write_text("{}")
    mine = tmp_path / "mine"
    mine.mkdir()
    other.symlink_to(mine)
    sweep(tmp_path / "no-runtime")
    assert sorted(tmp_path.glob("jmistral-*")) == sorted([lives, none, young, other])
    assert mine.exists() and (lives / "s").exists()


async def test_the_extension_opens_the_channel_once_the_server_runs(jp_serverapp: Any, mistral_home: Path) -> None:
    file = Path(jp_serverapp.runtime_dir) / f"mistral-{os.getpid()}.json"
    assert not file.exists()
    await jp_serverapp.extension_manager.start_all_extensions()
    try:
        assert os.environ[CONNECTION_ENV] == str(file)
        assert _mode(file) == 0o600
    finally:
        await jp_serverapp.extension_manager.stop_all_extensions()
    assert not file.exists()
    assert CONNECTION_ENV not in os.environ


@pytest.mark.threat("T9")
async def test_the_channels_token_is_not_valid_for_jupyter(
    jp_serverapp: Any, jp_fetch: Any, mistral_home: Path
) -> None:
    await jp_serverapp.extension_manager.start_all_extensions()
    try:
        token = json.loads(Path(os.environ[CONNECTION_ENV]).read_text())["token"]
        for path in ("api/contents", "api/kernels", "api/status", "mistral/api/status"):
            for scheme in ("token", "Bearer"):
                reply = await jp_fetch(path, headers={"Authorization": f"{scheme} {token}"}, raise_error=False)
                assert reply.code in (401, 403), path
    finally:
        await jp_serverapp.extension_manager.stop_all_extensions()


async def test_a_loopback_port_asks_for_the_token_too(own_host: Make) -> None:
    own = own_host(Options())
    await own.parts.channel.stop()
    own.parts.channel.start(port=0)
    port = int(own.parts.channel.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        pass
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /mistral/api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.close()
