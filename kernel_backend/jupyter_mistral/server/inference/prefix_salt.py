"""The salt of a user's prefix memory: stable, secret, another for each user, so that nobody finds what somebody else has read."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import hmac
import os
import secrets
from pathlib import Path

FILE = "salt"
BYTES = 32


def salt_of(user: str, folder: Path) -> str:
    """An HMAC of the user's name under a random key that lies in `folder`, readable by its owner alone. Reads and writes files."""
    return hmac.new(_key(folder), user.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def own_salt(holder: str = "") -> str:
    """Of whoever runs this server, with the key in the home of Jupyter Mistral; holder: of a named token, who is another."""
    from ...models import store

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may give a user no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return salt_of(f"{user}\0{holder}" if holder else user, store.home())


def _key(folder: Path) -> bytes:
    path = folder / FILE
    for _ in range(2):
        with contextlib.suppress(OSError):
            found = path.read_bytes()
            if len(found) == BYTES:
                return found
        _write(path)
    # nowhere to keep it: what is read is remembered as long as this server runs
    return secrets.token_bytes(BYTES)


def _write(path: Path) -> None:
    """Whole or not at all; of two servers that start together, the first wins."""
    new = path.with_name(f"{FILE}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(BYTES))
        try:
            if path.exists() and path.stat().st_size != BYTES:
                path.unlink()
            os.link(new, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
