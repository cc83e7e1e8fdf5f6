"""Gives each kernel that this Jupyter server starts a token of its own, whose file's path stands in the kernel's environment,
and which ends with the kernel. Knows kernel managers by three of their methods only."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...protocol import CONNECTION_ENV

LOOK_S = 0.5
START_S = 300.0  # a kernel that has not come by then never will


class Issuer(Protocol):
    """Who makes tokens: a channel."""

    def issue(self, name: str, is_alive: Callable[[], Awaitable[bool]]) -> Path: ...
    def withdraw(self, name: str) -> None: ...


class KernelKeys:
    """manager: the server's kernel manager, or whatever has its `pre_start_kernel`, `update_env` and `__contains__`."""

    def __init__(self, manager: Any, issuer: Issuer, environ: Mapping[str, str]) -> None:
        self._manager, self._issuer, self._environ = manager, issuer, environ
        self._kernels: dict[str, tuple[Any, float]] = {}  # and when it was begun
        self._seen: set[str] = set()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on every kernel that starts gets a token."""
        prepare = self._manager.pre_start_kernel

        def pre_start_kernel(kernel_name: str | None, kwargs: dict[str, Any]) -> Any:
            found = prepare(kernel_name, kwargs)
            kernel, _, kernel_id = found
            path = self._issuer.issue(kernel_id, lambda: _lives(kernel))
            self._kernels[kernel_id] = kernel, time.monotonic()
            kwargs["env"] = {**(kwargs.get("env") or self._environ), CONNECTION_ENV: str(path)}
            return found

        self._manager.pre_start_kernel = pre_start_kernel
        if hasattr(self._manager, "update_env"):  # jupyter_client 8.5 and later
            self._keep_env(self._manager.update_env)
        self._watch = asyncio.create_task(self._clear())

    def _keep_env(self, update: Callable[..., Any]) -> None:
        def update_env(*, kernel_id: str, env: Mapping[str, str]) -> Any:
            # Jupyter hands a renamed notebook's kernel the whole of its own environment again
            return update(kernel_id=kernel_id, env={k: v for k, v in env.items() if k != CONNECTION_ENV})

        self._manager.update_env = update_env

    async def _clear(self) -> None:
        """Remove the files of kernels that are gone. A token dies sooner: with the process, see `Channel.grant`."""
        while True:
            await asyncio.sleep(LOOK_S)
            for kernel_id, (kernel, began) in list(self._kernels.items()):
                was_there = kernel_id in self._seen or time.monotonic() - began > START_S
                if kernel_id in self._manager:
                    self._seen.add(kernel_id)
                elif was_there and not await _lives(kernel):
                    self._seen.discard(kernel_id)
                    del self._kernels[kernel_id]
                    self._issuer.withdraw(kernel_id)

    async def stop(self) -> None:
        for name in ("pre_start_kernel", "update_env"):
            self._manager.__dict__.pop(name, None)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for kernel_id in self._kernels:
            self._issuer.withdraw(kernel_id)
        self._kernels.clear()


async def _lives(kernel: Any) -> bool:
    """Whether the kernel's process runs now."""
    with contextlib.suppress(Exception):  # a manager of another make that cannot tell: its kernel counts as gone
        found = kernel.is_alive()
        return bool(await found if inspect.isawaitable(found) else found)
    return False
