"""A headless Chromium that reports, over its debugging protocol, what a page requests (not what the browser itself requests).
Knows nothing of Jupyter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..protocol.failures import Failure
from .trace import is_here

ENV = "JUPYTER_MISTRAL_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--remote-debugging-port=0",
]  # fmt: skip


@dataclass
class Seen:
    """The requests of a page. elsewhere: URLs beyond this machine that were let through; stopped: those that its policy blocked."""

    requests: int = 0
    elsewhere: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)


def find() -> str | None:
    """Path of a Chromium on this machine."""
    return os.environ.get(ENV) or next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browsing(path: str, folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `folder`; ended on leaving."""
    command = [path, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield Browser(_socket(process, folder))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _socket(process: subprocess.Popen[bytes], folder: Path) -> Any:
    import websocket  # of jupyter_server's own dependencies

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            port = (folder / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as reply:
                pages = [row for row in json.load(reply) if row["type"] == "page"]
            return websocket.create_connection(pages[0]["webSocketDebuggerUrl"], suppress_origin=True, timeout=1)
        except (OSError, IndexError, ValueError):
            time.sleep(0.1)
    raise Failure("unsupported", "The browser did not start.", f"Set {ENV} to another Chromium.")


class Browser:
    """One page and its requests."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self._urls: dict[str, str] = {}
        self.seen = Seen()
        self._listen("")

    def open(self, url: str, until: str, within_s: float = 120) -> None:
        """Open `url` and wait until the JavaScript expression `until` is true. Raises `Failure`."""
        self._call("Page.navigate", {"url": url})
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            reply = self._call("Runtime.evaluate", {"expression": f"Boolean({until})", "returnByValue": True})
            if reply.get("result", {}).get("value") is True:
                return
            self.watch(0.2)
        raise Failure("internal", f"The page was not ready after {within_s:.0f} s.", "Open it in your own browser.")

    def run(self, script: str) -> None:
        self._call("Runtime.evaluate", {"expression": script})

    def watch(self, seconds: float) -> None:
        """Record requests for so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._receive()

    def _listen(self, session: str) -> None:
        self._call("Network.enable", {}, session)
        auto = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True}
        self._call("Target.setAutoAttach", auto, session)

    def _call(self, method: str, params: dict[str, Any], session: str = "") -> dict[str, Any]:
        self._number += 1
        number = self._number
        more = {"sessionId": session} if session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, **more}))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            message = self._receive()
            if message.get("id") == number:
                return dict(message.get("result", {}))
        raise Failure("internal", "The browser does not respond.", f"Set {ENV} to another Chromium.")

    def _receive(self) -> dict[str, Any]:
        import websocket

        try:
            message: dict[str, Any] = json.loads(self._socket.recv())
        except websocket.WebSocketTimeoutException:
            return {}
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self._note(params["requestId"], params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self._note(params["requestId"], params["url"])
        elif method == "Network.loadingFailed" and params.get("blockedReason") == "csp":
            url = self._urls.get(params["requestId"], "")
            if url in self.seen.elsewhere:
                self.seen.elsewhere.discard(url)
                self.seen.stopped.add(url)
        elif method == "Target.attachedToTarget":
            # frames and workers of the page; their replies are not waited for
            self._number += 1
            line = {"id": self._number, "method": "Network.enable", "sessionId": params["sessionId"]}
            self._socket.send(json.dumps(line))
        return message

    def _note(self, identity: str, url: str) -> None:
        self.seen.requests += 1
        self._urls[identity] = url
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and not _is_local(parts.hostname or ""):
            self.seen.elsewhere.add(url)


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or is_here(host)
    except ValueError:
        return False
