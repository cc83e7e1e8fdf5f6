"""Restricts the child process before it reads a file: no network, little time and memory, no files. Standard library only."""

from __future__ import annotations

import contextlib
import os

from ..protocol.status import Seal
from ..seal import die_with_parent, seal
from .limits import Limits


def lock() -> Seal:
    """Block the network and end with the parent. Call before any thread starts."""
    sealed = seal(is_quick=True)
    die_with_parent()
    return sealed


def limit(limits: Limits) -> None:
    """Limit address space and CPU time; forbid core files and writing. On Windows, only the parent's timeout applies."""
    for name, value in (
        ("RLIMIT_AS", limits.memory),
        ("RLIMIT_CPU", limits.cpu_s),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
    ):
        _limit(name, value)


def close() -> None:
    """Forbid opening files. Everything that decoding needs must be loaded; open pipes stay open."""
    _limit("RLIMIT_NOFILE", 0)


def _limit(name: str, value: int) -> None:
    if os.name != "posix":
        return
    import resource

    kind: int = getattr(resource, name)
    # macOS has RLIMIT_AS but refuses to set it
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))
