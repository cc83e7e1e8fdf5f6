"""A real worker process on a real socket pair. No fakes."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zygote
from jupyter_mistral.protocol.wire import FrameReader, to_frame

Frame = dict[str, Any]


def _started(link: int, env: dict[str, str]) -> Any:
    command = [sys.executable, "-m", "jupyter_mistral.engine", "--fd", str(link)]
    return subprocess.Popen(command, pass_fds=[link], env=env, stderr=subprocess.PIPE)


class Host:
    """Sends frames and yields those that come back. is_true: start it as the server does, rather than by a fork (see zygote.py)."""

    def __init__(self, home: Path, is_true: bool = False, **env: str) -> None:
        ours, theirs = socket.socketpair()
        environment = os.environ | {
            "JUPYTER_MISTRAL_HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
        }
        environment |= env
        self.process = (_started if is_true or not zygote.fits(environment) else zygote.start)(
            theirs.fileno(), environment
        )
        theirs.close()
        self.socket, self._frames, self._ready = ours, FrameReader(), []
        self._counter = 0
        self.hello = self.next("hello")

    def send(self, type: str, blob: bytes = b"", **fields: Any) -> str:
        self._counter += 1
        identity = fields.pop("id", f"r{self._counter}")
        self.socket.sendall(to_frame({"type": type, "id": identity, **fields}, blob))
        return identity

    def frames(self, timeout: float = 300) -> Iterator[Frame]:
        """Frames until the worker closes the socket."""
        deadline = time.monotonic() + timeout
        while True:
            while self._ready:
                yield self._ready.pop(0)
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError("the worker sent nothing")
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError:
                return
            if not data:
                return
            self._ready += [header for header, _ in self._frames.feed(data)]

    def next(self, *types: str) -> Frame:
        """The next frame of one of these types; skips others."""
        for frame in self.frames():
            if frame["type"] in types:
                return frame
        raise AssertionError(f"the worker left: {self.stderr()}")

    def load(self, path: Path, **fields: Any) -> Frame:
        self.send(
            "load", path=str(path), **{"out": None, "name": "test", "device": "cpu", "quantization": "nf4"} | fields
        )
        return self.next("ready", "failed")

    def ask(self, question: str | list[Any], **fields: Any) -> Frame:
        """Ask a question. Returns the end frame with `text` and `readings` added."""
        content = [question] if isinstance(question, str) else question
        sampling = {"temperature": 0.0, "max_tokens": 32} | fields.pop("sampling", {})
        messages = fields.pop("messages", [{"role": "user", "content": content}])
        return self.finish(self.send("generate", messages=messages, sampling=sampling, **fields))

    def finish(self, identity: str) -> Frame:
        text, readings = "", []
        for frame in self.frames():
            if frame.get("id") != identity:
                continue
            if frame["type"] == "delta":
                text += frame["text"]
            elif frame["type"] == "reading":
                readings.append(frame)
            else:
                return frame | {"text": text, "readings": readings}
        raise AssertionError(f"the worker left: {self.stderr()}")

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> int:
        self.socket.close()
        try:
            return self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stderr:
                self.process.stderr.close()
