"""The way in for kernels and tools of this user: a unix socket (loopback port where there is none) with its own token, which
opens these addresses and nothing else. Knows nothing of Jupyter's login."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado import iostream, web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from ...discovery import PATTERN, file_name, is_alive, runtime_dir
from ...protocol import CONNECTION_ENV, PROTOCOL
from ...protocol.failures import Failure
from ...protocol.requests import MAX_BODY_BYTES
from .handler import Table, bind
from .identity import CALLER, TOKEN
from .tokens import SCOPE, Keys, digest

PREFIX = "jmistral-"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class TokenDoor(web.RequestHandler):
    """Lets in who brings the channel's token and is no browser."""

    channel: Channel

    async def enter(self) -> None:
        headers = self.request.headers
        if headers.get("Origin") or headers.get("Sec-Fetch-Site"):
            raise web.HTTPError(403)
        if urlsplit(f"//{self.request.host}").hostname not in LOOPBACK:
            raise web.HTTPError(403)
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        scope = await self.channel.scope_of(given.strip()) if scheme.lower() == "bearer" else None
        if scope is None:
            raise Failure("unauthorized", "The token is missing or wrong.", "Send Authorization: Bearer TOKEN.")
        if not self.request.path.startswith(scope):
            raise Failure("forbidden", f"This token opens {scope} alone.", "Ask there, or bring another token.")
        CALLER.set(TOKEN + name if (name := self.channel.holder_of(given.strip())) else "")
        self.channel.touch()

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    @staticmethod
    def guard(name: str, method: Any) -> Any:
        return method


class OwnServer(HTTPServer):
    """An HTTP server that talks, on unix sockets, only to processes of the same user."""

    def handle_stream(self, stream: iostream.IOStream, address: Any) -> None:
        if _is_strange(stream.socket):
            stream.close()
            return
        super().handle_stream(stream, address)


def _is_strange(sock: socket.socket) -> bool:
    option = getattr(socket, "SO_PEERCRED", None)  # Linux; elsewhere the rights of the socket's folder stand alone
    if option is None or sock.family != socket.AF_UNIX:
        return False
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return bool(uid != os.getuid())


class Channel:
    """Listens from `start` to `stop`. `idle_s` tells how long nobody with the token has asked for anything."""

    def __init__(self, table: Table, log: logging.Logger) -> None:
        self.token = secrets.token_urlsafe(32)
        self._log = log
        self._touched = time.monotonic()
        door = type("TokenDoor", (TokenDoor,), {"channel": self})
        everything: Any = bind(table, door)
        self._app = web.Application(everything, log_function=lambda handler: None)
        self._server: OwnServer | None = None
        self._folder: Path | None = None
        self._file: Path | None = None
        self._env: str | None = None
        self._keys = Keys()
        # hash of a token that was issued -> its name, and whether whoever has it still lives
        self._issued: dict[str, tuple[str, Callable[[], Awaitable[bool]]]] = {}
        self._info: dict[str, Any] = {}

    async def scope_of(self, token: str) -> str | None:
        """What a token opens: addresses that begin like this. None for a token that opens nothing."""
        hashed = digest(token)
        if hashed == digest(self.token):
            return "/"
        if hashed in self._issued:
            return "/mistral/" if await self._issued[hashed][1]() else None
        return SCOPE if self._keys.name_of(token) is not None else None

    def holder_of(self, token: str) -> str | None:
        """The name of a token that was made for somebody, None for one of this channel's own."""
        return self._keys.name_of(token)

    def issue(self, name: str, is_alive: Callable[[], Awaitable[bool]]) -> Path:
        """A connection file with a token of its own, good for /mistral while `is_alive`; the path of the file."""
        assert self._folder is not None, "the channel listens"
        token = secrets.token_urlsafe(32)
        self.withdraw(name)
        self._issued[digest(token)] = (name, is_alive)
        path = self._folder / f"{name}.json"
        _write_private(path, {**self._info, "token": token})
        return path

    def withdraw(self, name: str) -> None:
        """A token that was issued opens nothing any more; its file goes."""
        for hashed, (owner, _) in list(self._issued.items()):
            if owner == name:
                del self._issued[hashed]
        if self._folder is not None:
            (self._folder / f"{name}.json").unlink(missing_ok=True)

    def touch(self) -> None:
        self._touched = time.monotonic()

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self._touched

    def start(self, *, port: int | None = None) -> None:
        """Listen, write the connection file and tell processes started from here its path.

        port: a loopback port (0: any) beside the socket, for tools that speak HTTP only over TCP.
        """
        runtime = runtime_dir()
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(runtime)
        self._server = OwnServer(self._app, max_buffer_size=2 * MAX_BODY_BYTES)
        info: dict[str, Any] = {"pid": os.getpid(), "token": self.token, "protocol": PROTOCOL}
        # short: a socket's path has 107 characters at most (103 on macOS), and a runtime folder may lie deep
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        if hasattr(socket, "AF_UNIX") and os.name != "nt":
            info["socket"] = str(self._folder / "s")
            self._server.add_socket(_bind_unix(info["socket"]))
        elif port is None:
            port = 0
        if port is not None:
            self.url = self._listen(self._server, port)
            info.setdefault("url", self.url)
        self._file = runtime / file_name(os.getpid())
        _write_private(self._file, info)
        self._info = info
        self._env = os.environ.get(CONNECTION_ENV)
        os.environ[CONNECTION_ENV] = str(self._file)  # a path, no secret: kernels inherit it
        self._log.info("mistral: kernels connect through %s", self._file)

    @staticmethod
    def _listen(server: HTTPServer, port: int) -> str:
        sockets = bind_sockets(port, "127.0.0.1")
        server.add_sockets(sockets)
        return f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and leave nothing behind."""
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            if os.environ.get(CONNECTION_ENV) == str(self._file):
                _restore(CONNECTION_ENV, self._env)
            self._file = None
        self._issued.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _bind_unix(path: str) -> socket.socket:
    """It has its name once it listens: one that refuses a connection is one that was left."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    draft = os.path.join(os.path.dirname(path), "n")
    sock.bind(draft)
    os.chmod(draft, 0o600)  # before it listens; its folder lets nobody else in either
    sock.listen(128)
    os.rename(draft, path)
    return sock


def _write_private(path: Path, info: Mapping[str, Any]) -> None:
    """Whole or not at all, and readable by us alone from its first byte."""
    draft = path.with_suffix(f".{secrets.token_hex(4)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(draft, flags, 0o600), "w") as file:
        json.dump(info, file)
    draft.replace(path)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def sweep(runtime: Path) -> None:
    """Remove what servers that were killed left behind."""
    for path in runtime.glob(PATTERN):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            if path.stat().st_uid != _uid():
                continue
            info = json.loads(path.read_text())
            if is_alive(int(info["pid"])):
                continue
            folder = Path(str(info.get("socket") or "")).parent
            if folder.name.startswith(PREFIX) and folder.stat().st_uid == _uid():
                shutil.rmtree(folder, ignore_errors=True)
            path.unlink(missing_ok=True)
    if hasattr(socket, "AF_UNIX") and os.name != "nt":
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether nobody listens any more on the socket in it. That also tells of hosts whose runtime folder is gone, and of those in
    a container that shares the folder, of which a process's number tells nothing."""
    try:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != _uid():
            return False
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            sock.connect(str(folder / "s"))
    except ConnectionRefusedError:
        return True
    except OSError:  # no socket in it: none of a channel's, or one that is being made
        return False
    return False


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
