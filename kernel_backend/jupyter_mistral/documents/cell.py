"""What the child takes away from itself before it looks at a file: the network, time, memory, files. Standard library only."""

from __future__ import annotations

import contextlib
import os

from ..protocol.status import Seal
from ..seal import die_with_parent, seal
from .limits import Limits


def lock() -> Seal:
    """No network from here on, and no life after the parent's. Before any thread is started."""
    sealed = seal(is_quick=True)
    die_with_parent()
    return sealed


def bound(limits: Limits) -> None:
    """Address space and processor time at most; no core file, no writing. Linux and macOS; elsewhere the parent's clock alone."""
    for name, value in (
        ("RLIMIT_AS", limits.memory),
        ("RLIMIT_CPU", limits.cpu_s),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
    ):
        _limit(name, value)


def close() -> None:
    """No file can be opened any more: what decoding needs is loaded. Pipes that are open stay so."""
    _limit("RLIMIT_NOFILE", 0)


def _limit(name: str, value: int) -> None:
    if os.name != "posix":
        return
    import resource

    kind: int = getattr(resource, name)
    # macOS knows RLIMIT_AS and refuses it
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))
