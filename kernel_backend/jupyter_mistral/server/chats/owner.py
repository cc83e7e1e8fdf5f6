"""Which server writes an answer, and whether it is still alive: a dead server's answers are marked as interrupted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from . import queries
from .schema import make_private, transaction


class Owner:
    """Proves that a server is alive by a lock on a file of its own, which the system releases when the process ends.

    db: the chat database; its write lock keeps another server from removing the new file before it is locked.
    """

    def __init__(self, name: str, folder: Path, db: sqlite3.Connection) -> None:
        self.name, self._folder = name, folder
        with transaction(db):
            for stale in folder.glob("owner-*.lock"):
                self.is_alive(stale.stem.removeprefix("owner-"))
            path = self._path(self.name)
            make_private(path)
            self._lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            self._lock.execute("BEGIN EXCLUSIVE")

    def _path(self, name: str) -> Path:
        return self._folder / f"owner-{name}.lock"

    def is_alive(self, name: str) -> bool:
        """Also removes the file of a dead server."""
        if name == self.name:
            return True
        path = self._path(name)
        if not path.exists():
            return False
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        finally:
            other.close()
        path.unlink(missing_ok=True)
        return False

    def close(self) -> None:
        self._lock.close()
        self._path(self.name).unlink(missing_ok=True)


def interrupt_orphans(db: sqlite3.Connection, owner: Owner) -> int:
    """Mark unfinished answers of dead servers as interrupted; returns how many."""
    names = [row[0] for row in db.execute("SELECT DISTINCT owner FROM messages WHERE state = 'streaming'")]
    orphans = 0
    for name in names:
        if owner.is_alive(name or ""):
            continue
        with transaction(db):
            for (message,) in db.execute(
                "SELECT id FROM messages WHERE state = 'streaming' AND owner IS ?", (name,)
            ).fetchall():
                queries.finish(db, message, "interrupted", None, None)
                orphans += 1
    return orphans
