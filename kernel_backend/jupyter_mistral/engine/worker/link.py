"""The worker's end of the socket: frames are read on one thread and sent from any. Knows nothing of models."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ...protocol.wire import FrameReader, to_frame

Frame = tuple[dict[str, Any], bytes]


class Link:
    """Calls `take` on the reading thread for every frame. The process ends when the server goes away or sends garbage."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._sending = threading.Lock()

    def start(self, take: Callable[[dict[str, Any], bytes], None]) -> None:
        threading.Thread(target=self._read, args=(take,), name="frames", daemon=True).start()

    def send(self, header: Mapping[str, Any], blob: bytes = b"") -> None:
        """Blocks while the server does not read: an answer that nobody takes need not be computed."""
        frame = to_frame(header, blob)
        try:
            with self._sending:
                self._socket.sendall(frame)
        except OSError:
            os._exit(0)

    def _read(self, take: Callable[[dict[str, Any], bytes], None]) -> None:
        frames = FrameReader()
        try:
            while data := self._socket.recv(1 << 20):
                for header, blob in frames.feed(data):
                    take(header, blob)
        except ConnectionError:
            pass
        except Exception as error:  # a malformed frame means that the two ends disagree
            exit_process(f"bad frame: {type(error).__name__}: {error}", 2)
        # without the server there is nobody to answer: exit at once, whatever the other threads do
        exit_process("", 0)


def exit_process(why: str, code: int) -> None:
    """End the process from any thread, with a line on stderr if there is a reason."""
    if why:
        print(f"jupyter_mistral.engine: {why}", file=sys.stderr, flush=True)
    os._exit(code)
