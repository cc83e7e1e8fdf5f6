"""Forks worker processes for tests from one that has imported the engine, so that each starts in a fraction of a second.

The fork comes before the seal and before `main()` of `python -m jupyter_mistral.engine`, which then runs as usual: the seal is
made and verified, the frames are real, the process is separate. tests/engine/test_sealing.py covers what only a real start shows.
`launch` is for the server's `Worker`, `start` for tests that send frames themselves.

Each pytest process has one such parent, which ends with it. It has a single thread and never computes.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

# variables that libraries read when imported, which is before the fork
_READ_ON_IMPORT = ("CUDA_", "KMP_", "LD_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH", "TRITON_")
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
# CUDA does not survive a fork, and only Linux has SOCK_SEQPACKET
IS_POSSIBLE = sys.platform.startswith("linux") and not Path("/dev/nvidiactl").exists()


def fits(env: Mapping[str, str]) -> bool:
    """Whether a fork would equal a process started with this environment."""
    ours = _environment()
    names = [name for name in env.keys() | ours.keys() if name.startswith(_READ_ON_IMPORT) and name != "PYTHONSAFEPATH"]
    return IS_POSSIBLE and all(env.get(name) == ours.get(name) for name in names)


def begin() -> None:
    """Start the process that workers are forked from, unless it is running; it is ready some seconds later."""
    if IS_POSSIBLE:
        _parent()


async def launch(link: socket.socket, folder: Path, env: Mapping[str, str]) -> Any:
    """A worker for `jupyter_mistral.server.inference.worker.Worker`; started normally where a fork would differ."""
    if not fits(env):
        from jupyter_mistral.server.inference.worker_process import ENGINE

        return await ENGINE(link, folder, env)
    read, write = os.pipe()
    try:
        report = _request(link.fileno(), write, str(folder), env)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    try:
        report.setblocking(False)
        pid = _pid(await asyncio.get_running_loop().sock_recv(report, 100))
    except BaseException:
        report.close()
        os.close(read)
        raise
    return await Process.of(pid, report, os.fdopen(read, "rb", 0))


def start(link: int, env: Mapping[str, str]) -> Forked:
    """A worker on the descriptor `link`, in our folder, like a `subprocess.Popen`."""
    read, write = os.pipe()
    report = _request(link, write, os.getcwd(), env)
    os.close(write)
    return Forked(_pid(report.recv(100)), report, os.fdopen(read, "rb"))


class Process:
    """A forked worker with the interface of asyncio's processes."""

    def __init__(self, pid: int, report: socket.socket, stderr: asyncio.StreamReader) -> None:
        self.pid, self.stderr = pid, stderr
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._code: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(report, self._take)

    @classmethod
    async def of(cls, pid: int, report: socket.socket, stderr: IO[bytes]) -> Process:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stderr)
        return cls(pid, report, reader)

    def _take(self) -> None:
        self._loop.remove_reader(self._report)
        code = self._report.recv(100)
        self._report.close()
        self._code.set_result(int(code or -signal.SIGKILL))

    @property
    def returncode(self) -> int | None:
        return self._code.result() if self._code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._code)


class Forked:
    """A forked worker with the interface of a `subprocess.Popen`."""

    def __init__(self, pid: int, report: socket.socket, stderr: IO[bytes]) -> None:
        self.pid, self.stderr = pid, stderr
        self.returncode: int | None = None
        self._report = report

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked worker", timeout or 0)
            self.returncode = int(self._report.recv(100) or -signal.SIGKILL)
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# ---------------------------------------------------------------------------------------------- asking


def _request(link: int, stderr: int, folder: str, env: Mapping[str, str]) -> socket.socket:
    """The socket on which the parent reports the process id, then the exit code."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        order = json.dumps({"folder": folder, "env": dict(env)}).encode()
        socket.send_fds(_parent(), [order], [link, stderr, theirs.fileno()])
    return ours


def _pid(report: bytes) -> int:
    if not report:
        raise RuntimeError("the process that workers are forked from has ended")
    return int(report)


@functools.cache
def _environment() -> dict[str, str]:
    """The environment that the parent is started with; later changes do not reach it."""
    return os.environ | _OFFLINE


@functools.cache
def _parent() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# ---------------------------------------------------------------------------------------------- the parent of workers


def serve(control: socket.socket) -> None:
    """Fork a worker for each order and report how each ends, until pytest is gone."""
    _import_engine()
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    reports: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 12)
            _reap(reports)
        if control in ready:
            data, handed, _, _ = socket.recv_fds(control, 1 << 20, 3)
            if not data:
                return
            link, stderr, report = handed
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (control.detach(), woken, wake, report, *(one.detach() for one in reports.values())):
                    os.close(end)
                _become(json.loads(data), link, stderr)
            os.close(link)
            os.close(stderr)
            reports[pid] = socket.socket(fileno=report)
            _tell(reports[pid], pid)


def _import_engine() -> None:
    """Import everything that a worker of a plain model imports before its first token."""
    from jupyter_mistral.engine.load import import_bitsandbytes  # noqa: F401, I001  # before everything that imports bitsandbytes
    from jupyter_mistral.engine import __main__  # noqa: F401
    from jupyter_mistral.engine.load import loader  # noqa: F401
    from jupyter_mistral.engine.worker import jobs  # noqa: F401


def _reap(reports: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            report = reports.pop(ended[0])
            _tell(report, os.waitstatus_to_exitcode(ended[1]))
            report.close()


def _tell(report: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody is waiting for it
        report.send(str(number).encode())


def _become(order: dict[str, Any], link: int, stderr: int) -> None:
    """Become what `python -m jupyter_mistral.engine --fd N` starts. Does not return."""
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for source, target in ((nothing, 0), (nothing, 1), (stderr, 2)):
            os.dup2(source, target)
        os.close(nothing)
        os.close(stderr)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = ["jupyter_mistral.engine", "--fd", str(link)]
        from jupyter_mistral.engine.__main__ import main

        main()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))  # workers must not import from this folder
    serve(socket.socket(fileno=int(sys.argv[1])))
