"""A model host that speaks the real protocol and gives scripted answers. It contains no code of our server."""

from __future__ import annotations

import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from jupyter_mistral.protocol.events import Delta, End, Event, Loading, Reading, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.parsing import parse_chat
from jupyter_mistral.protocol.requests import ChatRequest
from jupyter_mistral.protocol.wire import DONE, read_json, to_chunk, to_sse

TOKEN = "a-token-of-the-test"
USAGE = Usage(
    prompt_tokens=312,
    completion_tokens=42,
    cached_tokens=290,
    time_to_first_token_s=0.42,
    tokens_per_second=28.1,
    model="qwen2.5-coder-0.5b",
    quantization="nf4",
    seed=7,
)
STATUS = {
    "version": "0.1.0",
    "state": "ready",
    "default_model": "qwen2.5-coder-0.5b",
    "model": {
        "name": "qwen2.5-coder-0.5b",
        "title": "Qwen2.5 Coder 0.5B",
        "licence": "Apache-2.0",
        "parameters": 494_032_768,
        "quantization": "nf4",
        "context_length": 32768,
        "can": ["text", "fim"],
    },
    "progress": None,
    "memory": {"device": "cpu", "weights": 480_000_000, "kv": 9_000_000, "free": 2**33, "total": 2**34},
    "seal": {"kind": "namespace", "measured": True, "reason": ""},
    "idle_unload_s": 1800.0,
}
Script = Callable[[ChatRequest], Iterable[Event]]


def pieces(text: str, size: int = 7) -> Iterator[Event]:
    """The events of an answer: reading, pieces of `text`, the end."""
    yield Reading(290, 312, 290)
    for i in range(0, len(text), size):
        yield Delta(text[i : i + size])
    yield End("stop", USAGE)


class Peer:
    """Answers each chat request with `script(request)`; a `Failure` that it raises is sent as an error chunk."""

    def __init__(self, folder: Path) -> None:
        self.script: Script = lambda request: pieces("Hello.")
        self.requests: list[ChatRequest] = []
        self.posts: list[tuple[str, Any]] = []
        self.left = threading.Event()
        self._home = tempfile.TemporaryDirectory(prefix="jm-")
        self.socket = str(Path(self._home.name) / "s")
        self._server = _Server(self.socket, self)
        self.file = folder / "mistral-1.json"
        connection = {"pid": os.getpid(), "socket": self.socket, "token": TOKEN, "protocol": 1}
        self.file.touch(mode=0o600)
        self.file.write_text(json.dumps(connection))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def say(self, text: str) -> None:
        """Answer `text` from now on."""
        self.script = lambda request: pieces(text)

    @property
    def prompt(self) -> str:
        """The last question as it was asked."""
        return next(message.text for message in reversed(self.requests[-1].messages) if message.role == "user")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._home.cleanup()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, peer: Peer) -> None:
        self.peer = peer
        super().__init__(path, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def address_string(self) -> str:
        return "peer"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._is_allowed():
            return
        answers: dict[str, Any] = {"/mistral/api/status": STATUS, "/mistral/api/models": {"models": MODELS}}
        if self.path in answers:
            self._json(200, answers[self.path])
        else:
            self._fail(Failure("not_found", "There is nothing here."))

    def do_POST(self) -> None:
        if not self._is_allowed():
            return
        body = read_json(self.rfile.read(int(self.headers["Content-Length"])))
        peer = self.server.peer
        peer.posts.append((self.path, body))
        if self.path == "/mistral/v1/chat/completions":
            try:
                request = parse_chat(body)
            except Failure as failure:
                self._fail(failure)
                return
            peer.requests.append(request)
            self._stream(peer.script(request))
        elif self.path == "/mistral/api/load":
            self._stream([Loading("download", 0.5, "qwen", 3.0), Loading("load", 1.0)])
        else:
            self._json(200, {})

    def _is_allowed(self) -> bool:
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not allowed:
            self._fail(Failure("unauthorized", "Wrong token."))
        return allowed

    def _stream(self, events: Iterable[Event]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        base = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "qwen2.5-coder-0.5b"}
        try:
            try:
                for event in events:
                    self.wfile.write(to_sse(to_chunk(event, base)))
            except Failure as failure:
                self.wfile.write(to_sse({"error": failure.to_dict()}))
                return
            self.wfile.write(DONE)
        except OSError:
            self.server.peer.left.set()

    def _fail(self, failure: Failure) -> None:
        self._json(failure.status, {"error": failure.to_dict()})

    def _json(self, status: int, data: Any) -> None:
        raw = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


MODELS = [
    {
        "name": "qwen2.5-coder-0.5b",
        "parameters": 494_032_768,
        "can": ["text", "fim"],
        "context_length": 32768,
        "memory": {"4096": 600_000_000},
        "fits": "cpu",
        "state": "ready",
        "default": True,
    },
    {
        "name": "mistral-small-3.2",
        "parameters": 24_011_361_280,
        "can": ["text", "image"],
        "context_length": 131072,
        "memory": {"4096": 16 * 2**30},
        "fits": "no",
        "state": "absent",
        "default": False,
    },
]
