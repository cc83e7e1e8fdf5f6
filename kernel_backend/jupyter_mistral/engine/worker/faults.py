"""Faults on demand in the real worker, for tests of what the server does about them. Needs two gates that no installed package
has: a variable in the environment, and a file of the tests beside this package's source. Knows frames, not models."""

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
# what happens, as which frame is about to be sent, and the how manieth of its kind
_FAULT = re.compile(r"(kill|stop|memory|garbage|half|huge|flood|mute)@(loading|ready|reading|delta|end):(\d+)")


def link_of(fd: int, environ: Mapping[str, str]) -> Link:
    """The worker's link; a faulty one where both gates are open. The variable holds faults like kill@delta:5, by commas."""
    asked = environ.get(SWITCH)
    if not asked or not _GATE.is_file():
        return Link(fd)
    found = [_FAULT.fullmatch(word) for word in asked.split(",")]
    if None in found:
        raise ValueError(f"{SWITCH}={asked} names no fault")
    return FaultyLink(fd, [(one[1], one[2], int(one[3])) for one in found if one])


class FaultyLink(Link):
    """Sends like any other, until it is time. faults: what happens, at which frame, at the how manieth of its kind."""

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
        raise MemoryError("as if there were none left")

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
