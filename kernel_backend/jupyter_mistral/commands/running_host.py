"""The model host that runs on this machine, for commands that ask it."""

from __future__ import annotations

from ..kernel.host.client import Client


def find_client() -> Client:
    """Raises `Failure("engine_stopped")` if no host is running; starts none."""
    return Client.find(start=False)
