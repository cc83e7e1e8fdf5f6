"""Who the request that is being served comes from, as the door that let it in knows. Knows nothing else."""

from __future__ import annotations

import os
from contextvars import ContextVar
from functools import lru_cache

CALLER: ContextVar[str] = ContextVar("caller", default="")
TOKEN = "token:"  # noqa: S105  # the sign of a named token's holder, no token


def holder() -> str:
    """The name of the token that the request came with, empty where it is the owner of this server who asks.

    Holders of tokens are several people perhaps: each has turns of its own and shares no prefix memory with another.
    """
    name = CALLER.get()
    return name.removeprefix(TOKEN) if name.startswith(TOKEN) else ""


def who() -> dict[str, str]:
    """What a record says of that: the account of this machine that we run as, and the name that whoever asks came in by."""
    # who logged in with Jupyter's own token has a name by chance there: the account is what says who it was
    return {"account": _account(), "user": CALLER.get() or "kernel or tool of the owner"}


@lru_cache
def _account() -> str:
    """By its number, since LOGNAME says what whoever starts the server likes."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except ImportError:  # Windows
        return os.environ.get("USERNAME", "")
    except KeyError:  # a container whose number has no name
        return str(os.getuid())
