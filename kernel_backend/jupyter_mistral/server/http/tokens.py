"""Named tokens that grant access to /mistral/v1 and nothing else. Only their hashes are stored."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.failures import Failure
from .identity import caller_fields

if TYPE_CHECKING:
    from ..observe.audit_log import AuditLog

FILE = "tokens.json"
PREFIX = "jm-"
SCOPE = "/mistral/v1/"
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Tokens:
    """The tokens of this user. Every lookup checks whether the file has changed, so revoking takes effect at once.

    audit: records who creates and revokes them.
    """

    def __init__(self, folder: Path | None = None, audit: AuditLog | None = None) -> None:
        self._folder, self._audit = folder, audit
        self._stamp: tuple[int, ...] = ()
        self._names: dict[str, str] = {}

    @property
    def _path(self) -> Path:
        from ...models import store

        return (self._folder or store.home()) / FILE

    def name(self, token: str) -> str | None:
        """The name of a token, None for an unknown or revoked one."""
        if not token.startswith(PREFIX):
            return None
        try:
            info = self._path.stat()
        except OSError:
            return None
        stamp = (info.st_mtime_ns, info.st_ino, info.st_size)
        if stamp != self._stamp:
            self._names = {row["sha256"]: row["name"] for row in self.rows()}
            self._stamp = stamp
        return self._names.get(digest(token))

    def rows(self) -> list[dict[str, Any]]:
        """Name, creation time and hash of each token. Raises `Failure` if other users can write to the file."""
        try:
            info = self._path.stat()
            if hasattr(os, "getuid") and info.st_uid != os.getuid():
                todo = (
                    "Ask its owner or an admin to `chown` it to you, or set JUPYTER_MISTRAL_HOME to a folder of yours."
                )
                raise Failure("forbidden", f"{self._path} belongs to another user (uid {info.st_uid}).", todo)
            if os.name == "posix" and info.st_mode & 0o022:
                todo = "Delete it, since others may have added tokens, and create your tokens again."
                raise Failure("forbidden", f"{self._path} is writable by other users.", todo)
            rows = json.loads(self._path.read_text(encoding="utf-8"))["tokens"]
            return [{key: row[key] for key in ("name", "created", "sha256")} for row in rows]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            raise Failure(
                "internal", f"{self._path} cannot be read.", "Delete it and create the tokens again."
            ) from None

    def create(self, name: str) -> str:
        """A new token, which cannot be shown again. Raises `Failure`: an invalid name, a name in use, `not_recorded`."""
        if not _NAME.fullmatch(name):
            raise Failure(
                "bad_request", "A token's name has 1 to 64 letters, digits, dots, _ or -.", "Choose another.", "name"
            )
        with self._locked():
            rows = self.rows()
            if any(row["name"] == name for row in rows):
                raise Failure(
                    "bad_request",
                    f"A token named {name} already exists.",
                    f"Revoke it with `jupyter mistral token revoke {name}`, or choose another name.",
                    "name",
                )
            token = PREFIX + secrets.token_urlsafe(32)
            record = {"request": secrets.token_hex(8), "action": "create_token", **caller_fields(), "token": name}
            if self._audit is not None:
                self._audit.require({**record, "state": "asked"})
            self._write([*rows, {"name": name, "created": int(time.time()), "sha256": digest(token)}])
            if self._audit is not None:
                self._audit.add({**record, "state": "done"})
        return token

    def revoke(self, name: str) -> None:
        """Revoke a token, even if that cannot be recorded. Raises `Failure` if there is none with this name."""
        with self._locked():
            rows = self.rows()
            remaining = [row for row in rows if row["name"] != name]
            if len(remaining) == len(rows):
                raise Failure("not_found", f"There is no token named {name[:80]}.", "Run `jupyter mistral token list`.")
            self._write(remaining)
            if self._audit is not None:
                record = {"request": secrets.token_hex(8), "action": "revoke_token", **caller_fields(), "token": name}
                self._audit.add({**record, "state": "done"})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        draft = self._path.with_suffix(f".{secrets.token_hex(4)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump({"tokens": rows}, file, indent=1)
        draft.replace(self._path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps two commands from overwriting each other's changes."""
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            with contextlib.suppress(ImportError):  # Windows has no lock
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def digest(token: str) -> str:
    """The hash of a token. A plain hash suffices: tokens are 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
