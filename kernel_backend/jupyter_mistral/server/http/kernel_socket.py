"""The channel for kernels and tools of this user: a unix socket (a loopback port on systems without) with its own token, which is
valid for our routes only. Independent of Jupyter's login."""

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
from .tokens import SCOPE, Tokens, digest

PREFIX = "jmistral-"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class TokenDoor(web.RequestHandler):
    """Admits clients with one of the channel's tokens, but no browsers."""

    channel: KernelChannel

    async def enter(self) -> None:
        headers = self.request.headers
        if headers.get("Origin") or headers.get("Sec-Fetch-Site"):
            raise web.HTTPError(403)
        if urlsplit(f"//{self.request.host}").hostname not in LOOPBACK:
            raise web.HTTPError(403)
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        token = credentials.strip()
        scope = await self.channel.scope(token) if scheme.lower() == "bearer" else None
        if scope is None:
            raise Failure("unauthorized", "The token is missing or wrong.", "Send Authorization: Bearer TOKEN.")
        if not self.request.path.startswith(scope):
            raise Failure(
                "forbidden", f"This token is only valid for {scope}.", "Use another address or another token."
            )
        CALLER.set(TOKEN + name if (name := self.channel.token_name(token)) else "")
        self.channel.touch()

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    @staticmethod
    def guard(name: str, method: Any) -> Any:
        return method


class OwnServer(HTTPServer):
    """An HTTP server that accepts only this user's processes on unix sockets."""

    def handle_stream(self, stream: iostream.IOStream, address: Any) -> None:
        if _is_other_user(stream.socket):
            stream.close()
            return
        super().handle_stream(stream, address)


def _is_other_user(sock: socket.socket) -> bool:
    option = getattr(socket, "SO_PEERCRED", None)  # Linux only; on other systems the folder's permissions must suffice
    if option is None or sock.family != socket.AF_UNIX:
        return False
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return bool(uid != os.getuid())


class KernelChannel:
    """Listens from `start` to `stop`. `idle_s`: seconds since the last request with a valid token."""

    def __init__(self, table: Table, log: logging.Logger) -> None:
        self.token = secrets.token_urlsafe(32)
        self._log = log
        self._last_request = time.monotonic()
        door = type("TokenDoor", (TokenDoor,), {"channel": self})
        handlers: Any = bind(table, door)
        self._app = web.Application(handlers, log_function=lambda handler: None)
        self._server: OwnServer | None = None
        self._folder: Path | None = None
        self._file: Path | None = None
        self._env: str | None = None
        self._tokens = Tokens()
        # hash of an issued token -> its name, and whether its kernel is alive
        self._issued: dict[str, tuple[str, Callable[[], Awaitable[bool]]]] = {}
        self._info: dict[str, Any] = {}

    async def scope(self, token: str) -> str | None:
        """The prefix of the paths that a token is valid for; None for an invalid token."""
        hashed = digest(token)
        if hashed == digest(self.token):
            return "/"
        if hashed in self._issued:
            return "/mistral/" if await self._issued[hashed][1]() else None
        return SCOPE if self._tokens.name(token) is not None else None

    def token_name(self, token: str) -> str | None:
        """The name of a token made by `jupyter mistral token`, None for this channel's own."""
        return self._tokens.name(token)

    def issue(self, name: str, is_alive: Callable[[], Awaitable[bool]]) -> Path:
        """Write a connection file with a new token, valid for /mistral while `is_alive`. Returns the file's path."""
        assert self._folder is not None, "the channel is listening"
        token = secrets.token_urlsafe(32)
        self.withdraw(name)
        self._issued[digest(token)] = (name, is_alive)
        path = self._folder / f"{name}.json"
        _write_private(path, {**self._info, "token": token})
        return path

    def withdraw(self, name: str) -> None:
        """Revoke an issued token and remove its file."""
        for hashed, (owner, _) in list(self._issued.items()):
            if owner == name:
                del self._issued[hashed]
        if self._folder is not None:
            (self._folder / f"{name}.json").unlink(missing_ok=True)

    def touch(self) -> None:
        self._last_request = time.monotonic()

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self._last_request

    def start(self, *, port: int | None = None) -> None:
        """Listen, write the connection file, and put its path into the environment that child processes inherit.

        port: also listen on this loopback port (0: any free one), for tools that cannot use a unix socket.
        """
        runtime = runtime_dir()
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(runtime)
        self._server = OwnServer(self._app, max_buffer_size=2 * MAX_BODY_BYTES)
        info: dict[str, Any] = {"pid": os.getpid(), "token": self.token, "protocol": PROTOCOL}
        # in the temporary folder: a socket's path has at most 107 characters (103 on macOS), and a runtime folder may be deep
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
        os.environ[CONNECTION_ENV] = str(self._file)  # kernels inherit this; a path is no secret
        self._log.info("mistral: kernels connect through %s", self._file)

    @staticmethod
    def _listen(server: HTTPServer, port: int) -> str:
        sockets = bind_sockets(port, "127.0.0.1")
        server.add_sockets(sockets)
        return f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and remove all files."""
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
    """Gets its final name once it listens, so a socket that refuses connections is a stale one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    draft = os.path.join(os.path.dirname(path), "n")
    sock.bind(draft)
    os.chmod(draft, 0o600)  # its folder is private too
    sock.listen(128)
    os.rename(draft, path)
    return sock


def _write_private(path: Path, info: Mapping[str, Any]) -> None:
    """Write the file atomically, readable only by this user from the start."""
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
    """Remove the files of servers that were killed."""
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
            if _is_stale(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_stale(folder: Path) -> bool:
    """Whether nobody listens on the folder's socket. Unlike a process id, this also works for hosts whose runtime folder is gone, and
    across containers that share the folder."""
    try:
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != _uid():
            return False
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            sock.connect(str(folder / "s"))
    except ConnectionRefusedError:
        return True
    except OSError:  # no socket: not a channel's folder, or one that is just being created
        return False
    return False


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
