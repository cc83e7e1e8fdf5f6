"""Finds the user's model host from any process, or starts one. Knows connection files; knows nothing of requests."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ... import child
from ...discovery import candidates, is_alive, newest, runtime_dir
from ...protocol import CONNECTION_ENV
from ...protocol.failures import Failure

LOOPBACK = ("127.0.0.1", "::1", "localhost")
IDLE_EXIT_S = 1800
START_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 5.0


class UnixHTTPConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


@dataclass(frozen=True)
class Connection:
    """Where a host listens, and its token (valid for /mistral only)."""

    pid: int
    token: str
    socket: str = ""
    url: str = ""

    @classmethod
    def of_file(cls, path: Path) -> Connection | None:
        """Read a connection file; None if it is missing, not owned by us, or malformed."""
        try:
            info = path.stat()
            if hasattr(os, "getuid") and (info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077):
                return None
            data = json.loads(path.read_text())
            socket_path, url = str(data.get("socket") or ""), str(data.get("url") or "")
            connection = cls(int(data["pid"]), str(data["token"]), socket_path, url)
            is_local = socket_path or urlsplit(url).hostname in LOOPBACK
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return connection if is_local else None

    def open(self, timeout: float) -> HTTPConnection:
        if self.socket:
            return UnixHTTPConnection(self.socket, timeout)
        parts = urlsplit(self.url)
        return HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)

    def answers(self, timeout: float = PROBE_TIMEOUT_S) -> bool:
        """Whether a host answers there. One that does not respond within `timeout` seconds counts as busy, not as gone."""
        # another program may listen at a stale url by now; the path of a socket is never reused
        if not self.socket and not is_alive(self.pid):
            return False
        probe = self.open(timeout)
        try:
            # connecting proves nothing: the operating system accepts connections for a killed process until all its files are closed
            probe.request("HEAD", "/")
            probe.getresponse().close()
        except TimeoutError:
            return True
        except (OSError, HTTPException):
            return False
        finally:
            probe.close()
        return True


def find_connection(environ: Mapping[str, str] = os.environ, timeout: float = PROBE_TIMEOUT_S) -> Connection | None:
    """The host of the server that started this process; otherwise the user's newest host that answers."""
    for path in candidates(environ):
        connection = Connection.of_file(path)
        if connection is not None and connection.answers(timeout):
            return connection
    return None


def start_host(say: Callable[[str], None]) -> Connection:
    """Start `python -m jupyter_mistral.server.standalone` and wait until it answers. It outlives this process and exits when idle."""
    # torch is not checked: the host may be configured to use an engine elsewhere
    if not all(find_spec(name) for name in ("jupyter_server", "httpx")):
        raise Failure(
            "engine_missing",
            "No model host is running, and this environment has no engine to start one.",
            "Start JupyterLab in an environment with jupyter-mistral[engine], or run `pip install 'jupyter-mistral[engine]'` here.",
        )
    folder = runtime_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _exclusive(folder / "mistral-start.lock"):
        connection = find_connection()  # another kernel may have started it while we waited
        return connection or _start(folder / "mistral-host.log", say)


def _start(log: Path, say: Callable[[str], None]) -> Connection:
    command = child.python("jupyter_mistral.server.standalone", "--idle-exit", str(IDLE_EXIT_S))
    # a server of its own, not the one that started this kernel
    env = {name: value for name, value in child.full_environment(os.environ).items() if name != CONNECTION_ENV}
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        host = child.popen(command, env=env, cwd=log.parent, stdout=out, stderr=out)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for path in newest(runtime_dir()):
            connection = Connection.of_file(path)
            if connection is not None and connection.pid == host.pid and connection.answers():
                say(f"Started a model host (process {host.pid}). It exits after 30 idle minutes.")
                return connection
        if host.poll() is not None:
            break
        time.sleep(0.05)
    host.kill()
    host.wait()
    raise Failure("engine_stopped", "The model host did not start.", f"See its log: {log}")


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: two kernels may start two hosts at the same time
        yield
        return
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
