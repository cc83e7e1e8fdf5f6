"""Who the request that is being served comes from, as the door that let it in knows. Knows nothing else."""

from __future__ import annotations

from contextvars import ContextVar

CALLER: ContextVar[str] = ContextVar("caller", default="")
TOKEN = "token:"  # noqa: S105  # the sign of a named token's holder, no token


def holder() -> str:
    """The name of the token that the request came with, empty where it is the owner of this server who asks.

    Holders of tokens are several people perhaps: each has turns of its own and shares no prefix memory with another.
    """
    name = CALLER.get()
    return name.removeprefix(TOKEN) if name.startswith(TOKEN) else ""
