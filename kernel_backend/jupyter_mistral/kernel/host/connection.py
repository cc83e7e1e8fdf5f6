"""Find the model host of this user from any process, or start one. Knows connection files; knows nothing of requests."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ...discovery import candidates, is_alive, newest, runtime_dir
from ...protocol import CONNECTION_ENV
from ...protocol.failures import Failure

LOOPBACK = ("127.0.0.1", "::1", "localhost")
IDLE_EXIT_S = 1800
START_TIMEOUT_S = 60.0
PROBE_S = 5.0


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
    """Where a host listens, and the token that opens it (good for /mistral only)."""

    pid: int
    token: str
    socket: str = ""
    url: str = ""

    @classmethod
    def of_file(cls, path: Path) -> Connection | None:
        """None where the file is gone, not ours, or not what we write."""
        try:
            info = path.stat()
            if hasattr(os, "getuid") and (info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077):
                return None
            data = json.loads(path.read_text())
            found = cls(int(data["pid"]), str(data["token"]), str(data.get("socket") or ""), str(data.get("url") or ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        local = found.socket or urlsplit(found.url).hostname in LOOPBACK
        return found if local else None

    def open(self, timeout: float) -> HTTPConnection:
        if self.socket:
            return UnixHTTPConnection(self.socket, timeout)
        parts = urlsplit(self.url)
        return HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)

    def answers(self, patience: float = PROBE_S) -> bool:
        """Whether a host lives there now; one that is silent for `patience` seconds counts as busy, not as gone."""
        # behind a stale url another program may listen by now; a socket's path is never reused
        if not self.socket and not is_alive(self.pid):
            return False
        probe = self.open(patience)
        try:
            # connecting proves nothing: the kernel takes connections for a process that was killed until it has closed all it had open
            probe.request("HEAD", "/")
            probe.getresponse().close()
        except TimeoutError:
            return True
        except (OSError, HTTPException):
            return False
        finally:
            probe.close()
        return True


def find_connection(environ: Mapping[str, str] = os.environ, patience: float = PROBE_S) -> Connection | None:
    """The host of the server that started this process; else the newest one of this user that answers."""
    for path in candidates(environ):
        connection = Connection.of_file(path)
        if connection is not None and connection.answers(patience):
            return connection
    return None


def start_host(say: Callable[[str], None]) -> Connection:
    """Start `python -m jupyter_mistral.server.standalone`, which outlives this process and ends when unused; wait until it answers."""
    # what it imports; whether it needs torch is its own business, since its engine may be elsewhere
    if not all(find_spec(name) for name in ("jupyter_server", "httpx")):
        raise Failure(
            "engine_missing",
            "No running model host was found, and this environment has no engine to start one.",
            "Start JupyterLab where jupyter-mistral[engine] is installed, or run `pip install 'jupyter-mistral[engine]'` here.",
        )
    folder = runtime_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _one_at_a_time(folder / "mistral-start.lock"):
        found = find_connection()  # another kernel may have started it while we waited
        return found or _start(folder / "mistral-host.log", say)


def _start(log: Path, say: Callable[[str], None]) -> Connection:
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--idle-exit", str(IDLE_EXIT_S)]
    # nothing in the notebook's folder may stand in for a module of the host
    environ = {k: v for k, v in os.environ.items() if k != CONNECTION_ENV} | {"PYTHONSAFEPATH": "1"}
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        host = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=environ,
            cwd=log.parent,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        for path in newest(runtime_dir()):
            connection = Connection.of_file(path)
            if connection is not None and connection.pid == host.pid and connection.answers():
                say(f"Started a model host (process {host.pid}); it ends by itself after 30 minutes without use.")
                return connection
        if host.poll() is not None:
            break
        time.sleep(0.05)
    host.kill()
    host.wait()
    raise Failure("engine_stopped", "The model host did not start.", f"Its log says why: {log}")


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: two kernels at the same moment may start two hosts
        yield
        return
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
