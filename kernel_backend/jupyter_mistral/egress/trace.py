"""Processes under strace, and their calls that would reach beyond this machine. Nothing is written to disk: the trace is read from
a pipe, and of the data sent only the names in DNS queries are read."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..protocol.failures import Failure
from .isolated_network import name_in

_CALLS = "connect,sendto,sendmsg,sendmmsg"
_LINE = re.compile(rf"(\d+)(?:<(.*?)>)?\s+({_CALLS.replace(',', '|')})\((.*)", re.DOTALL)
_RESUMED = re.compile(r"(\d+)(?:<.*?>)?\s+<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_V4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([\d.]+)"\)')
_V6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([0-9a-fA-F:.]+)"')
_TEXT = re.compile(r'(?:iov_base=|^\d+(?:<[^>]*>)?, )"((?:[^"\\]|\\.)*)"')
_RESULT = re.compile(r"\) += (-?\d+)")
_RESOLVER = "io.systemd.Resolve"
# an address that belongs to nobody (RFC 5737) and a made-up name, which the worker uses to test its own seal
_NOBODY, _NO_NAME = "192.0.2.1", "example.invalid"
_ESCAPES = {"n": 10, "t": 9, "r": 13, "v": 11, "f": 12, "a": 7, "b": 8, '"': 34, "\\": 92}


@dataclass
class Attempt:
    """One call that reaches beyond this machine or looks up a name: its process and its target."""

    process: str
    call: str
    target: str
    names: list[str] = field(default_factory=list)


@dataclass
class Watched:
    """The result of a trace. calls: number of network calls; seal_tests: the worker's tests of its own seal, all refused."""

    calls: int = 0
    seal_tests: int = 0
    attempts: list[Attempt] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Tracer:
    """Reads one trace. Put `prefix` before the command to watch; call `close` after it has ended."""

    def __init__(self, folder: Path) -> None:
        strace = shutil.which("strace")
        if strace is None:
            raise Failure(
                "unsupported",
                "strace, needed to watch system calls, is not installed.",
                "Install it (`apt-get install strace`, `dnf install strace`), then try again.",
            )
        pipe = folder / "trace"
        os.mkfifo(pipe, 0o600)
        self.prefix = [strace, "-D", "-f", "-qq", "-Y", "--seccomp-bpf", "-s", "300", "-e", f"trace={_CALLS}"]
        self.prefix += ["-e", "signal=none", "-o", str(pipe)]
        self.watched = Watched()
        self._open: dict[str, str] = {}
        self._asking: dict[str, Attempt] = {}
        self._thread = threading.Thread(target=self._read, args=(pipe,), name="trace", daemon=True)
        self._thread.start()

    def close(self) -> Watched:
        """The result, after the last watched process has ended."""
        self._thread.join()
        return self.watched

    def _read(self, pipe: Path) -> None:
        with pipe.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.take(line.rstrip("\n"))

    def take(self, line: str) -> None:
        """One line of the trace."""
        resumed = _RESUMED.match(line)
        if resumed:
            line = self._open.pop(resumed[1], "") + resumed[2]
        elif line.endswith("<unfinished ...>"):
            self._open[line.split("<", 1)[0].split()[0]] = line.removesuffix("<unfinished ...>").rstrip()
            return
        match = _LINE.match(line)
        if match:
            self._judge(match[1], match[2] or "?", match[3], match[4])

    def _judge(self, pid: str, process: str, call: str, rest: str) -> None:
        self.watched.calls += 1
        targets = [(address, int(port)) for port, address in [*_V4.findall(rest), *_V6.findall(rest)]]
        names = list(dict.fromkeys(name for text in _TEXT.findall(rest) if (name := name_in(_bytes(text)))))
        result = _RESULT.search(rest)
        if not targets and _RESOLVER not in rest:
            if names and pid in self._asking:
                self._asking[pid].names += [name for name in names if name not in self._asking[pid].names]
            return
        is_refused = result is not None and int(result[1]) < 0
        if is_refused and (_NO_NAME in names or any(address == _NOBODY for address, _ in targets)):
            self.watched.seal_tests += 1
            return
        for address, port in targets or [(_RESOLVER, 53)]:
            if port == 53 or not is_here(address):
                target = (
                    "a name server" if port == 53 else f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                )
                attempt = Attempt(process, call, target, names)
                self.watched.attempts.append(attempt)
                if port == 53:
                    self._asking[pid] = attempt


def is_here(address: str) -> bool:
    """Whether an address is this machine's loopback interface."""
    parsed = ipaddress.ip_address(address)
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return parsed.is_loopback or parsed.is_unspecified


def _bytes(text: str) -> bytes:
    """The bytes of a string as strace prints it."""

    def of(match: re.Match[str]) -> str:
        octal, letter = match[1], match[2]
        return chr(int(octal, 8) & 255) if octal else chr(_ESCAPES.get(letter, ord(letter) & 255))

    return re.sub(r"\\(?:([0-7]{1,3})|(.))", of, text).encode("latin-1", "replace")
