"""The SQLite database of chats: its schema, how it is opened, transactions. Knows nothing of what the rows mean."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...protocol.failures import Failure

# version n of the file is the result of the first n scripts; a released script is never changed
MIGRATIONS = (
    """
    CREATE TABLE chats (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, notebook TEXT, created REAL NOT NULL, updated REAL NOT NULL
    );
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
        role TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, usage TEXT, failure TEXT, owner TEXT
    );
    CREATE TABLE parts (
        message TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE, place INTEGER NOT NULL,
        text TEXT, mime TEXT, data BLOB, PRIMARY KEY (message, place)
    );
    CREATE INDEX messages_of_chat ON messages (chat, seq);
    CREATE INDEX unfinished ON messages (owner) WHERE state = 'streaming';
    """,
)
MAX_MEMORY_PAGES = 2**16  # of 4 KB: limit of what waits in memory for a full disk


def open_file(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open or create the file (0600) in its folder (0700); waits up to `busy_s` seconds for another server's write.

    Raises Failure, OSError or sqlite3.Error if the file cannot be used.
    """
    guard_folder(path.parent)
    make_private(path)
    db = _configured(sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False))
    try:
        db.execute("PRAGMA journal_mode = WAL")  # no effect on file systems without shared memory
        db.execute("PRAGMA synchronous = FULL")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def open_memory() -> sqlite3.Connection:
    db = _configured(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    db.execute(f"PRAGMA max_page_count = {MAX_MEMORY_PAGES}")
    _migrate(db)
    return db


def guard_folder(folder: Path) -> None:
    """Create `folder` for its owner only. Raises `Failure` if others can enter it or it is a link."""
    for part in reversed((folder, *folder.parents)):
        part.mkdir(mode=0o700, exist_ok=True)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise Failure("forbidden", f"{folder} is a link, not a folder.", "Remove the link and start again.")
    if os.name == "posix" and (info.st_uid != os.getuid() or info.st_mode & 0o077):
        raise Failure("forbidden", f"Other users can access {folder}.", f"Run: chmod 700 {folder}")


def make_private(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if os.name == "posix":
            os.fchmod(fd, 0o600)  # SQLite creates its -wal and -shm files with the same mode
    finally:
        os.close(fd)


def _configured(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # overwrites the text of a deleted chat
    db.create_function("fold", 1, lambda text: text.casefold() if isinstance(text, str) else text, deterministic=True)
    return db


def _migrate(db: sqlite3.Connection) -> None:
    with transaction(db):
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise Failure(
                "unsupported", "The chats were saved by a newer version of Jupyter Mistral.", "Update Jupyter Mistral."
            )
        for script in MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Several reads of the same state."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. IMMEDIATE: a second server waits at the start, not half-way through."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk may have rolled back already
            db.execute("ROLLBACK")
        raise


@contextmanager
def savepoint(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing inside a transaction."""
    db.execute("SAVEPOINT step")
    try:
        yield
    except (sqlite3.IntegrityError, Failure):
        db.execute("ROLLBACK TO step")
        raise
    db.execute("RELEASE step")
