"""An isolated network for this process and its children: only a loopback interface, and a name server that knows no names.

Enter it before any thread is started. The name server keeps the names it was asked for, which reveals lookups that a trace does
not show (a browser's).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path

from ..protocol.failures import Failure

_NEWNS, _NEWUSER, _NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NXDOMAIN = 0x8183


def enter(folder: Path) -> NameServer:
    """Isolate this process, with its own resolver files in `folder`. Raises `Failure("unsupported")` if that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _NEWNET | _NEWNS
    if os.geteuid() != 0 or libc.unshare(flags) != 0:
        uid, gid = os.getuid(), os.getgid()
        if libc.unshare(flags | _NEWUSER) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise Failure(
                "unsupported",
                f"This machine does not allow network namespaces ({reason}).",
                "Run it where user namespaces are allowed, or as root on your own machine or container.",
            )
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _raise_loopback()
    server = NameServer()
    _use_name_server(libc, folder)
    return server


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _use_name_server(libc: ctypes.CDLL, folder: Path) -> None:
    """Resolve names only at 127.0.0.1 and only by DNS: a resolver behind a unix socket would answer from outside."""
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    if libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        raise _not_mounted("/")
    for name in ("resolv.conf", "nsswitch.conf"):
        target = Path("/etc", name)
        if not target.exists():
            continue
        if libc.mount(bytes(folder / name), bytes(target.resolve()), None, _MS_BIND, None) != 0:
            raise _not_mounted(str(target))


def _not_mounted(what: str) -> Failure:
    reason = os.strerror(ctypes.get_errno())
    return Failure("unsupported", f"{what} could not be mounted over in a namespace ({reason}).", "Run it as root.")


class NameServer:
    """Answers every query on port 53 of the loopback interface with "no such name". names: the names it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))

    def start(self) -> None:
        threading.Thread(target=self._serve, name="names", daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, address = self._socket.recvfrom(4096)
            name = name_in(question)
            if name:
                self.names.add(name)
                head = question[:2] + struct.pack(">HHHHH", _NXDOMAIN, 1, 0, 0, 0)
                self._socket.sendto(head + question[12 : 12 + len(name) + 2 + 4], address)


def name_in(question: bytes) -> str:
    """The name in a DNS query, "" if the bytes are not a query."""
    labels, at = [], 12
    while at < len(question) and 0 < question[at] < 64:
        labels.append(question[at + 1 : at + 1 + question[at]])
        at += 1 + question[at]
    is_question = len(question) > 12 and question[4:6] == b"\0\1" and at < len(question) and question[at] == 0
    try:
        return b".".join(labels).decode("ascii").lower() if is_question else ""
    except UnicodeDecodeError:
        return ""
