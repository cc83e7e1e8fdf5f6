"""Gives each kernel of this Jupyter server a token of its own, valid while the kernel runs; the kernel's environment has the path of
the file with it. Uses three methods of the kernel manager."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...protocol import CONNECTION_ENV

POLL_S = 0.5
START_TIMEOUT_S = 300.0  # a kernel that has not started by then never will


class Issuer(Protocol):
    """Makes tokens: a `KernelChannel`."""

    def issue(self, name: str, is_alive: Callable[[], Awaitable[bool]]) -> Path: ...
    def withdraw(self, name: str) -> None: ...


class KernelTokens:
    """manager: the server's kernel manager, or an object with its `pre_start_kernel`, `update_env` and `__contains__`."""

    def __init__(self, manager: Any, issuer: Issuer, environ: Mapping[str, str]) -> None:
        self._manager, self._issuer, self._environ = manager, issuer, environ
        self._kernels: dict[str, tuple[Any, float]] = {}  # with the time when it was started
        self._seen: set[str] = set()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Give every kernel that starts from now on a token."""
        prepare = self._manager.pre_start_kernel

        def pre_start_kernel(kernel_name: str | None, kwargs: dict[str, Any]) -> Any:
            prepared = prepare(kernel_name, kwargs)
            kernel, _, kernel_id = prepared
            path = self._issuer.issue(kernel_id, lambda: _is_alive(kernel))
            self._kernels[kernel_id] = kernel, time.monotonic()
            kwargs["env"] = {**(kwargs.get("env") or self._environ), CONNECTION_ENV: str(path)}
            return prepared

        self._manager.pre_start_kernel = pre_start_kernel
        if hasattr(self._manager, "update_env"):  # jupyter_client 8.5 and later
            self._keep_env(self._manager.update_env)
        self._watch = asyncio.create_task(self._clear())

    def _keep_env(self, update: Callable[..., Any]) -> None:
        def update_env(*, kernel_id: str, env: Mapping[str, str]) -> Any:
            # when a notebook is renamed, Jupyter passes its kernel the server's whole environment again
            return update(kernel_id=kernel_id, env={k: v for k, v in env.items() if k != CONNECTION_ENV})

        self._manager.update_env = update_env

    async def _clear(self) -> None:
        """Remove the files of kernels that have ended. Their tokens became invalid with the process."""
        while True:
            await asyncio.sleep(POLL_S)
            for kernel_id, (kernel, started) in list(self._kernels.items()):
                has_started = kernel_id in self._seen or time.monotonic() - started > START_TIMEOUT_S
                if kernel_id in self._manager:
                    self._seen.add(kernel_id)
                elif has_started and not await _is_alive(kernel):
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


async def _is_alive(kernel: Any) -> bool:
    """Whether the kernel's process is running."""
    with contextlib.suppress(Exception):  # a custom kernel manager that does not know: its kernel counts as ended
        is_alive = kernel.is_alive()
        return bool(await is_alive if inspect.isawaitable(is_alive) else is_alive)
    return False
