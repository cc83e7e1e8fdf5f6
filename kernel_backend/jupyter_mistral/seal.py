"""Blocks network access for this process and its children, then verifies it. Standard library only: it runs before torch.

The worker with the model and the child that decodes images and documents both start with it.

Linux offers two methods: an empty network namespace (tried first) or a seccomp filter on socket(). Unix sockets and inherited
descriptors keep working with both. Other systems have neither, and the seal says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from .protocol.status import Seal

SWITCH = "JUPYTER_MISTRAL_SEAL"

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_UNREACHABLE = {errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_TEST_ADDRESS = "192.0.2.1"  # TEST-NET-1 of RFC 5737, which belongs to nobody


def seal(is_quick: bool = False) -> Seal:
    """Block the network, verify it and report the result. Must run while the process has a single thread.

    is_quick: for a process that decodes one image: try the cheapest method first and verify it in less than a millisecond.
    Administrators choose with the environment: JUPYTER_MISTRAL_SEAL=off skips it, =seccomp or =namespace allows only that
    method.
    """
    choice = os.environ.get(SWITCH, "")
    if choice == "off":
        return Seal("none", False, f"{SWITCH}=off in the environment")
    if not sys.platform.startswith("linux"):
        return Seal("none", False, f"{platform.system()} has neither network namespaces nor seccomp")
    reasons = []
    methods = (("namespace", _enter_empty_namespace), ("seccomp", _filter_sockets))
    for kind, block in reversed(methods) if is_quick else methods:
        if choice not in ("", kind):
            continue
        reason = block()
        if reason is None:
            leak = find_leak(QUICK if is_quick else WAYS_OUT)
            return Seal(kind, leak is None, leak or "")  # type: ignore[arg-type]  # one of the two literals above
        reasons.append(f"{kind}: {reason}")
    return Seal("none", False, "; ".join(reasons) or f"{SWITCH}={choice} is unknown")


def die_with_parent() -> None:
    """Kill this process when the thread that started it ends (Linux). Call after `seal`: a new user namespace clears it."""
    if sys.platform.startswith("linux"):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)


# ---------------------------------------------------------------------------------------------- namespace


def _enter_empty_namespace() -> str | None:
    """None, or the reason why it failed. Tried in a child first: a half-made user namespace cannot be left."""
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):
        reason = _in_child(lambda flags=flags: _unshare(flags))  # type: ignore[misc]  # mypy knows no default in lambda
        if reason is None:
            return _unshare(flags)
    return reason


def _unshare(flags: int) -> str | None:
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        return os.strerror(ctypes.get_errno())
    if flags & _CLONE_NEWUSER:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        except OSError as error:
            return str(error)
    return None


def _in_child(attempt: Callable[[], str | None]) -> str | None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, (attempt() or "").encode()[:4000])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        reason = pipe.read().decode()
    os.waitpid(child, 0)
    return reason or None


# ---------------------------------------------------------------------------------------------- seccomp

_ARCHES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # audit architecture, number of socket()
_IO_URING_SETUP = 425
_X32 = 0x40000000
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _filter_sockets() -> str | None:
    """None, or the reason why it failed. Only Unix sockets remain (and netlink with an NVIDIA driver, which ends in the kernel)."""
    if platform.machine() not in _ARCHES:
        return f"no filter for {platform.machine()}"
    arch, socket_call = _ARCHES[platform.machine()]
    families = [int(socket.AF_UNIX)]
    if Path("/dev/nvidiactl").exists():
        families.append(int(socket.AF_NETLINK))
    code = _filter_program(arch, socket_call, families)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return os.strerror(ctypes.get_errno())
    program = _Program(len(code) // 8, code)
    if libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) != 0:
        return os.strerror(ctypes.get_errno())
    return None


def _filter_program(arch: int, socket_call: int, families: list[int]) -> bytes:
    """Classic BPF over struct seccomp_data (number at 0, architecture at 4, first argument at 16)."""
    load, equal, set_, ret = 0x20, 0x15, 0x45, 0x06
    n = len(families)
    # (opcode, skip if true, skip if false, operand); the two returns are at the end: refuse, allow
    lines = [
        (load, 0, 0, 4),
        (equal, 0, 5 + n, arch),
        (load, 0, 0, 0),
        (set_, 3 + n, 0, _X32),
        (equal, 2 + n, 0, _IO_URING_SETUP),
        (equal, 0, 2 + n, socket_call),
        (load, 0, 0, 16),
        *((equal, n - i, 0, family) for i, family in enumerate(families)),
        (ret, 0, 0, _REFUSE),
        (ret, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


# ---------------------------------------------------------------------------------------------- verification


def find_leak(ways: Mapping[str, Callable[[], None]]) -> str | None:
    """The first way out of this process that works, or None. Tries loopback first, so that nothing leaves the machine."""
    for name, attempt in ways.items():
        if not _is_blocked(attempt):
            return f"{name} is not blocked"
    return None


def _is_blocked(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno in _UNREACHABLE
    return False


def _by_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))


def _by_python() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.2)
        sock.connect((_TEST_ADDRESS, 80))


def _by_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", (_TEST_ADDRESS, 9))


def _by_version_6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.connect(("::1", 9))


def _by_libc() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    sock = libc.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
    if sock < 0:
        raise OSError(ctypes.get_errno(), "socket")
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 9) + socket.inet_aton(_TEST_ADDRESS) + bytes(8)
    failed, code = libc.connect(sock, address, len(address)) != 0, ctypes.get_errno()
    libc.close(sock)
    if failed:
        raise OSError(code, "connect")


def _by_name_lookup() -> None:
    """Send a query to a name server, like libc's resolver; getaddrinfo would replace the error with its own."""
    question = b"\x00\x07\x01\x00\x00\x01" + bytes(6) + b"\x07example\x07invalid\x00\x00\x01\x00\x01"
    servers = [_TEST_ADDRESS]
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
        servers += [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]
    except OSError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for server in servers:
            if ":" not in server:
                try:
                    sock.sendto(question, (server, 53))
                    return
                except OSError as error:
                    last = error
    raise last


_CHILD = f"""
import socket, sys
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(({_TEST_ADDRESS!r}, 9))
except OSError as error:
    sys.exit(error.errno)
"""


def _by_child() -> None:
    code = subprocess.run([sys.executable, "-I", "-S", "-c", _CHILD], stderr=subprocess.DEVNULL, timeout=30).returncode
    if code:
        raise OSError(code, "child")


WAYS_OUT: dict[str, Callable[[], None]] = {
    "the loopback interface": _by_loopback,
    "a Python socket": _by_python,
    "a datagram": _by_datagram,
    "an IPv6 socket": _by_version_6,
    "libc": _by_libc,
    "a name lookup": _by_name_lookup,
    "a child process": _by_child,
}
QUICK = {name: WAYS_OUT[name] for name in ("the loopback interface", "libc")}
