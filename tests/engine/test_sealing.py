"""The worker has no network, verifies that itself, and does not outlive its server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zygote
from engine_host import Host
from jupyter_mistral.protocol.wire import to_frame

PROBE = """
import json, sys
from jupyter_mistral import seal
told = seal.seal()
print(json.dumps({"kind": told.kind, "measured": told.measured,
                  "open": [name for name, attempt in seal.WAYS_OUT.items() if not seal._is_blocked(attempt)]}))
"""


def probe(seal: str) -> dict[str, object]:
    import json

    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=os.environ | {"JUPYTER_MISTRAL_SEAL": seal}, capture_output=True, check=True
    )
    return dict(json.loads(done.stdout))


@pytest.mark.threat("T1")
@pytest.mark.parametrize("kind", ["namespace", "seccomp"])
def test_each_seal_blocks_every_way_out(kind: str) -> None:
    told = probe(kind)
    if kind == "namespace" and told["kind"] == "none":
        pytest.skip("this machine lets nobody make a network namespace: only the seccomp seal was tested")
    assert told == {"kind": kind, "measured": True, "open": []}


@pytest.mark.threat("T1")
def test_without_the_seal_the_same_check_finds_open_ways() -> None:
    told = probe("off")
    assert told["kind"] == "none" and told["measured"] is False
    assert {"the loopback interface", "a datagram", "libc", "a child process"} <= set(told["open"])  # type: ignore[call-overload]


@pytest.fixture
def bare(tmp_path: Path) -> Host:
    return Host(tmp_path, is_true=True)


def test_hello_comes_first_with_the_verified_seal(bare: Host) -> None:
    assert bare.hello["seal"]["kind"] in ("namespace", "seccomp") and bare.hello["seal"]["measured"] is True
    assert bare.hello["pid"] == bare.process.pid and bare.hello["versions"]["torch"]
    bare.send("ping", id="p")
    assert bare.next("pong")["id"] == "p"
    assert bare.close() == 0


@pytest.mark.threat("T1")
def test_the_running_worker_is_in_an_empty_network_namespace(bare: Host) -> None:
    if bare.hello["seal"]["kind"] == "namespace":
        lines = Path(f"/proc/{bare.process.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in lines] == ["lo"]
        assert Path(f"/proc/{bare.process.pid}/net/route").read_text().splitlines()[1:] == []
    else:
        assert "Seccomp:\t2" in Path(f"/proc/{bare.process.pid}/status").read_text()
    bare.close()


def test_the_worker_ends_when_its_socket_closes(bare: Host) -> None:
    bare.socket.close()
    assert bare.process.wait(timeout=20) == 0
    bare.close()


@pytest.mark.fault("F2")
def test_the_worker_dies_with_a_killed_server(tmp_path: Path) -> None:
    """The server is killed while a third process holds the socket open, so only the death signal can tell the worker."""
    ours, theirs = socket.socketpair()
    script = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-m', 'jupyter_mistral.engine', '--fd', '{theirs.fileno()}'],"
        f" pass_fds=[{theirs.fileno()}])\n"
        "print(p.pid, flush=True)\n"
        "p.wait()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
    )
    theirs.close()
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    assert ours.recv(1 << 16)  # hello: by then it has asked for the signal
    server.kill()
    server.wait()
    server.stdout.close()
    deadline = time.monotonic() + 20
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(pid)
    ours.close()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.threat("T31")
@pytest.mark.fault("F20")
@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        to_frame({"type": "nonsense"}),
        b"\0\0\0\x02\0\0\0\0[]",
        to_frame({"type": "generate"}),
    ],
)
def test_garbage_ends_the_worker_with_a_message_on_stderr(bare: Host, garbage: bytes) -> None:
    bare.socket.sendall(garbage)
    assert bare.process.wait(timeout=20) == 2
    assert "bad frame" in bare.stderr()
    bare.close()


def test_kill_9_closes_the_socket(bare: Host) -> None:
    bare.process.send_signal(signal.SIGKILL)
    assert list(bare.frames(timeout=20)) == []
    bare.close()


@pytest.mark.skipif(not zygote.IS_POSSIBLE, reason="tests start their workers as the server does here")
def test_a_forked_worker_is_sealed_too_and_reports_its_end(tmp_path: Path, bare: Host) -> None:
    """What other tests ask (zygote.py) is what the server starts, but for the imports that it finds done."""
    host = Host(tmp_path)
    assert host.hello["seal"] == bare.hello["seal"] and host.hello["versions"] == bare.hello["versions"]
    assert os.getsid(host.process.pid) == host.process.pid == host.hello["pid"]
    assert host.process.poll() is None
    host.process.kill()
    assert host.process.wait(20) == -signal.SIGKILL == host.process.returncode
    assert not _lives(host.process.pid)
    host.close()
    bare.close()
