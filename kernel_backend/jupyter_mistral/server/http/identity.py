"""Who sent the request that is being served, as established by its door."""

from __future__ import annotations

import os
from contextvars import ContextVar
from functools import lru_cache

CALLER: ContextVar[str] = ContextVar("caller", default="")
TOKEN = "token:"  # noqa: S105  # the prefix of a token's name, not a token


def token_holder() -> str:
    """The name of the request's token, empty for the owner of this server.

    Holders of tokens may be different people: each has their own place in the queue and their own prefix cache.
    """
    name = CALLER.get()
    return name.removeprefix(TOKEN) if name.startswith(TOKEN) else ""


def caller_fields() -> dict[str, str]:
    """For the audit log: the account on this machine, and the name that the client logged in with."""
    # Jupyter gives users of its own token a random name; the account is what identifies them
    return {"account": _account(), "user": CALLER.get() or "kernel or tool of the owner"}


@lru_cache
def _account() -> str:
    """By uid: LOGNAME can be set to anything."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except ImportError:  # Windows
        return os.environ.get("USERNAME", "")
    except KeyError:  # a container without a name for this uid
        return str(os.getuid())
