"""The salt of a user's prefix cache: stable, secret and different for each user, so that nobody reuses what another had prefilled."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ..http.identity import token_holder

FILE = "salt"
KEY_BYTES = 32


class PrefixSalts:
    """The salt of each caller, computed once: one for the owner of this server and one for each holder of a named token."""

    def __init__(self) -> None:
        self._salts: dict[str, str] = {}

    async def of_caller(self) -> str:
        name = token_holder()
        if name not in self._salts:
            self._salts[name] = await asyncio.to_thread(_salt_of_holder, name)
        return self._salts[name]


def _salt_of_holder(name: str) -> str:
    from ...models import store

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return salt_of(f"{user}\0{name}" if name else user, store.home())


def salt_of(user: str, folder: Path) -> str:
    """HMAC of the user's name under a random key in `folder` that only its owner can read. Creates the key if needed."""
    return hmac.new(_key(folder), user.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _key(folder: Path) -> bytes:
    path = folder / FILE
    for _ in range(2):
        with contextlib.suppress(OSError):
            key = path.read_bytes()
            if len(key) == KEY_BYTES:
                return key
        _write_key(path)
    # cannot be stored: the prefix cache is then valid as long as this server runs
    return secrets.token_bytes(KEY_BYTES)


def _write_key(path: Path) -> None:
    """Atomic; of two servers that start together, the first wins."""
    draft = path.with_name(f"{FILE}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        try:
            if path.exists() and path.stat().st_size != KEY_BYTES:
                path.unlink()
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
