"""Injects faults into the real worker, to test how the server handles them. Knows frames, not models.

Needs two things that no installed package has: an environment variable, and a file of the tests beside this package's source.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .link import Link

SWITCH = "JUPYTER_MISTRAL_FAULT"
_GATE = Path(__file__).parents[4] / "tests" / "faults" / "ALLOWED"
# the fault, the type of frame before which it happens, and the frame's position among those of its type
_FAULT = re.compile(r"(kill|stop|memory|garbage|half|huge|flood|mute)@(loading|ready|reading|delta|end):(\d+)")


def make_link(fd: int, environ: Mapping[str, str]) -> Link:
    """The worker's link; a faulty one if both gates are open. The variable lists faults such as kill@delta:5, by commas."""
    setting = environ.get(SWITCH)
    if not setting or not _GATE.is_file():
        return Link(fd)
    matches = [_FAULT.fullmatch(word) for word in setting.split(",")]
    if None in matches:
        raise ValueError(f"{SWITCH}={setting} is not a list of faults")
    return FaultyLink(fd, [(match[1], match[2], int(match[3])) for match in matches if match])


class FaultyLink(Link):
    """Sends frames normally until a fault is due. faults: (fault, frame type, its position among frames of that type)."""

    def __init__(self, fd: int, faults: Sequence[tuple[str, str, int]]) -> None:
        super().__init__(fd)
        self._faults = {(frame, number): kind for kind, frame, number in faults}
        self._sent: Counter[str] = Counter()

    def send(self, header: Mapping[str, Any], blob: bytes = b"") -> None:
        frame = str(header["type"])
        self._sent[frame] += 1
        kind = self._faults.get((frame, self._sent[frame]))
        if kind:
            getattr(self, f"_{kind}")()
        super().send(header, blob)

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def _memory(self) -> None:
        raise MemoryError("injected")

    def _garbage(self) -> None:
        self._socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)

    def _half(self) -> None:
        self._socket.sendall(b"\0\0\1\0\0\0\0\0" + b'{"type": "del')
        os._exit(0)

    def _huge(self) -> None:
        self._socket.sendall(b"\x40\0\0\0\0\0\0\0" + bytes(1 << 20))

    def _flood(self) -> None:
        for _ in range(1 << 15):
            print("x" * 1000, file=sys.stderr)

    def _mute(self) -> None:
        time.sleep(1e6)
