"""Named tokens that open /mistral/v1 and nothing else: `jupyter mistral token create | list | revoke`. Only hashes are kept."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...protocol.failures import Failure
from ..observe.audit_log import AuditLog, audit_of
from .identity import who

FILE = "tokens.json"
PREFIX = "jm-"
SCOPE = "/mistral/v1/"
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Keys:
    """The tokens of this user. Every question looks whether the file has changed, so revoking works at once.

    audit: where it is recorded who makes and revokes them, None: nowhere.
    """

    def __init__(self, folder: Path | None = None, audit: AuditLog | None = None) -> None:
        self._folder, self._audit = folder, audit
        self._stamp: tuple[int, ...] = ()
        self._names: dict[str, str] = {}

    @property
    def _path(self) -> Path:
        from ...models import store

        return (self._folder or store.home()) / FILE

    def name_of(self, token: str) -> str | None:
        """The name of a token, None for one that is not (or no longer) known."""
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
        """Name, creation time and hash of each. Raises `Failure` for a file that is not ours alone."""
        try:
            info = self._path.stat()
            if hasattr(os, "getuid") and info.st_uid != os.getuid():
                todo = "Have its owner or an admin `chown` it to you, or set JUPYTER_MISTRAL_HOME to a folder of yours."
                raise Failure("forbidden", f"{self._path} belongs to another user (number {info.st_uid}).", todo)
            if os.name == "posix" and info.st_mode & 0o022:
                todo = "Delete it, since anybody may have put tokens there, and create yours anew."
                raise Failure("forbidden", f"{self._path} can be written to by others.", todo)
            found = json.loads(self._path.read_text(encoding="utf-8"))["tokens"]
            return [{key: row[key] for key in ("name", "created", "sha256")} for row in found]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            raise Failure(
                "internal", f"{self._path} cannot be read.", "Delete it, and create the tokens anew."
            ) from None

    def create(self, name: str) -> str:
        """A new token, which is told this once. Raises `Failure` for a bad name, one that is taken, `not_recorded`."""
        if not _NAME.fullmatch(name):
            raise Failure("bad_request", "A name has 1 to 64 letters, digits, dots, _ or -.", "Choose another.", "name")
        with self._locked():
            rows = self.rows()
            if any(row["name"] == name for row in rows):
                raise Failure(
                    "bad_request",
                    f"There is a token named {name} already.",
                    f"Revoke it with `jupyter mistral token revoke {name}`, or choose another name.",
                    "name",
                )
            token = PREFIX + secrets.token_urlsafe(32)
            record = {"request": secrets.token_hex(8), "action": "create_token", **who(), "token": name}
            if self._audit is not None:
                self._audit.require({**record, "state": "asked"})
            self._write([*rows, {"name": name, "created": int(time.time()), "sha256": digest(token)}])
            if self._audit is not None:
                self._audit.add({**record, "state": "done"})
        return token

    def revoke(self, name: str) -> None:
        """Opens nothing any more. That is recorded but never refused for want of a record. Raises `Failure`."""
        with self._locked():
            rows = self.rows()
            left = [row for row in rows if row["name"] != name]
            if len(left) == len(rows):
                raise Failure(
                    "not_found", f"There is no token named {name[:80]}.", "`jupyter mistral token list` tells."
                )
            self._write(left)
            if self._audit is not None:
                record = {"request": secrets.token_hex(8), "action": "revoke_token", **who(), "token": name}
                self._audit.add({**record, "state": "done"})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        draft = self._path.with_suffix(f".{secrets.token_hex(4)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump({"tokens": rows}, file, indent=1)
        draft.replace(self._path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once must not write over each other."""
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            with contextlib.suppress(ImportError):  # Windows: they may
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def digest(token: str) -> str:
    """Tokens are 256 random bits: a plain hash of one cannot be guessed back."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _audit() -> AuditLog | None:
    """The log that an admin's configuration asks for."""
    from jupyter_core.paths import jupyter_config_path

    from ..standalone import settings_of  # it joins all parts: not to be loaded with this module, which is one of them

    return audit_of(settings_of(jupyter_config_path()))


def main(argv: Sequence[str]) -> int:
    """`jupyter mistral token`. Raises `Failure`."""
    parser = argparse.ArgumentParser(
        "jupyter mistral token",
        description="Tokens for other programs: each opens /mistral/v1 on this machine, no more.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    create = commands.add_parser("create", help="make a token and print it, this once")
    revoke = commands.add_parser("revoke", help="make a token worthless, at once")
    for command in (create, revoke):
        command.add_argument("name", metavar="NAME", help="what the token is for, such as an editor's name")
    commands.add_parser("list", help="list names").add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    keys = Keys(audit=None if args.command == "list" else _audit())
    if args.command == "create":
        print(keys.create(args.name))
        print("Keep it: it is not shown again. It opens /mistral/v1 alone.", file=sys.stderr)
    elif args.command == "revoke":
        keys.revoke(args.name)
        print(f"{args.name} opens nothing any more.")
    else:
        rows = [{k: v for k, v in row.items() if k != "sha256"} for row in keys.rows()]
        days = [time.strftime("%Y-%m-%d", time.localtime(row["created"])) for row in rows]
        lines = [f"{row['name']:24} {day}" for row, day in zip(rows, days, strict=True)]
        print(json.dumps(rows, indent=1) if args.json else "\n".join(lines) or "No tokens.")
    return 0
