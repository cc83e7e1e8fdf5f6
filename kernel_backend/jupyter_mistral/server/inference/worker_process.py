"""Starts the worker process: its command, its environment without secrets, and the socket between it and the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from ...protocol.failures import Failure

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|CREDENTIAL|COOKIE|API_?KEY|(?:^|_)(?:KEYS?|AUTH|DSN)(?:_|$)|^(?:DBUS_|DOCKER_)", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")  # a URL that contains a password
_SECRET_TEXT = re.compile(r"\b(hf_|sk-|ghp_|Bearer )\S+")


class Process(Protocol):
    """What we need of a started process, a part of asyncio's. It leads a session of its own."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    @property
    def stderr(self) -> asyncio.StreamReader | None: ...
    async def wait(self) -> int: ...


# takes the worker's end of the socket, its working directory and its environment
Launch: TypeAlias = Callable[[socket.socket, Path, Mapping[str, str]], Awaitable[Process]]
Link: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def by_command(*command: str) -> Launch:
    """Start the worker with a command; `--fd` passes it the descriptor of its socket."""

    async def launch(link: socket.socket, folder: Path, env: Mapping[str, str]) -> Process:
        return await asyncio.create_subprocess_exec(
            *command,
            "--fd",
            str(link.fileno()),
            pass_fds=[link.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=folder,
            # Ctrl-C in the server's terminal is for the server, not for the worker
            start_new_session=True,
        )

    return launch


ENGINE = by_command(sys.executable, "-m", "jupyter_mistral.engine")


async def start(folder: Path, launch: Launch = ENGINE) -> tuple[Process, Link]:
    """Start a worker in `folder`, connected by a socket pair. Raises `Failure("unsupported")` on Windows."""
    if platform.system() == "Windows":  # sockets cannot be passed to a child there
        raise Failure(
            "unsupported",
            "Models cannot run on native Windows.",
            "Run Jupyter in WSL, or ask an admin to set an external engine (c.MistralExtension.engine_url).",
        )
    ours, theirs = socket.socketpair()
    try:
        process = await launch(theirs, folder, environment(os.environ))
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return process, await asyncio.open_connection(sock=ours)


def environment(parent: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment: without the server's secrets and agents, offline, and without modules from the working directory."""
    kept = {k: v for k, v in parent.items() if not _SECRET_NAME.search(k) and not _SECRET_VALUE.search(v)}
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def redacted(text: str) -> str:
    """Text for the log, without tokens and the user's home folder."""
    return _SECRET_TEXT.sub(r"\1…", text.replace(str(Path.home()), "~"))


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used; 0 on systems without /proc."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
