"""Starts the worker process: its command, its environment without secrets, and the socket between it and the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import socket
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from ... import child
from ...protocol.failures import Failure

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
        fd = link.fileno()
        return await child.start([*command, "--fd", str(fd)], env=env, cwd=folder, stderr=PIPE, pass_fds=[fd])

    return launch


ENGINE = by_command(*child.python("jupyter_mistral.engine"))


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
    """The worker's environment: offline, without the server's secrets and agents."""
    return child.environment(parent, child.ENGINE) | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
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
