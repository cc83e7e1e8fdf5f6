"""The SQLite file of chats: schema, opening, reading and the writes as plain functions. Knows no event loop, no engine, no HTTP.

A write is a function of a connection that may be run on the file and, while the disk is full, on its twin in memory; ids
are made by the caller, so that the same write gives the same rows on both.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...protocol.failures import Failure
from ...protocol.images import Image

# version n of the file is what the first n scripts make; a script once released is never changed
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
MAX_MEMORY_PAGES = 2**16  # of 4 KB: what may wait for a full disk
LIST_LIMIT = 1000
_CHAT = "SELECT id, title, notebook, updated, (SELECT count(*) FROM messages m WHERE m.chat = c.id) FROM chats c"

Content = tuple[str | Image, ...]


def new_id() -> str:
    return uuid.uuid4().hex


def _gone() -> Failure:
    return Failure("not_found", "This chat is gone.", "Pick another one or start a new one.")


# ---------------------------------------------------------------------------------------------- opening


def open_file(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open or make the file (0600) in its folder (0700); another server's write is waited for up to `busy_s` seconds.

    Raises Failure, OSError or sqlite3.Error where the file cannot be used.
    """
    guard_folder(path.parent)
    _make_private(path)
    db = _configured(sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False))
    try:
        db.execute("PRAGMA journal_mode = WAL")  # stays as it is where the file system cannot share memory
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
    """Make `folder` for its owner alone; refuse one that others may enter or that is a link elsewhere."""
    for part in reversed((folder, *folder.parents)):
        part.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Failure("forbidden", f"{folder} is a link, not a folder.", "Remove the link and start again.")
    if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & 0o077):
        raise Failure("forbidden", f"{folder} is open to other users.", f"Run: chmod 700 {folder}")


def _make_private(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if os.name == "posix":
            os.fchmod(fd, 0o600)  # SQLite gives its -wal and -shm files the same mode
    finally:
        os.close(fd)


def _configured(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # a deleted chat leaves no text behind in the file
    db.create_function("fold", 1, lambda text: text.casefold() if isinstance(text, str) else text, deterministic=True)
    return db


def _migrate(db: sqlite3.Connection) -> None:
    with transaction(db):
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise Failure("unsupported", "The chats were saved by a newer Jupyter Mistral.", "Update this one.")
        for script in MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Several reads that see one state."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. IMMEDIATE: a second server waits here, not half-way through."""
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


# ---------------------------------------------------------------------------------------------- who is writing


class Owner:
    """Proof that a server lives: a lock on a file of its own, which the system drops when the process ends, however it ends.

    `db` is the chat file: its write lock keeps another server from sweeping the new file away before it is locked.
    """

    def __init__(self, name: str, folder: Path, db: sqlite3.Connection) -> None:
        self.name, self._folder = name, folder
        with transaction(db):
            for left in folder.glob("owner-*.lock"):
                self.is_alive(left.stem.removeprefix("owner-"))
            path = self._path(self.name)
            _make_private(path)
            self._lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            self._lock.execute("BEGIN EXCLUSIVE")

    def _path(self, name: str) -> Path:
        return self._folder / f"owner-{name}.lock"

    def is_alive(self, name: str) -> bool:
        """Sweeps the file of one that is not."""
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
    """Mark the unfinished answers of servers that are gone; says how many."""
    names = [row[0] for row in db.execute("SELECT DISTINCT owner FROM messages WHERE state = 'streaming'")]
    orphans = 0
    for name in names:
        if owner.is_alive(name or ""):
            continue
        with transaction(db):
            for (message,) in db.execute(
                "SELECT id FROM messages WHERE state = 'streaming' AND owner IS ?", (name,)
            ).fetchall():
                finish(db, message, "interrupted", None, None)
                orphans += 1
    return orphans


# ---------------------------------------------------------------------------------------------- writes


def add_chat(db: sqlite3.Connection, chat: str, title: str, notebook: str | None, now: float) -> None:
    db.execute("INSERT INTO chats VALUES (?, ?, ?, ?, ?)", (chat, title, notebook, now, now))


def rename_chat(db: sqlite3.Connection, chat: str, title: str) -> None:
    if not db.execute("UPDATE chats SET title = ? WHERE id = ?", (title, chat)).rowcount:
        raise _gone()


def drop_chat(db: sqlite3.Connection, chat: str) -> None:
    if not db.execute("DELETE FROM chats WHERE id = ?", (chat,)).rowcount:
        raise _gone()


def add_turn(
    db: sqlite3.Connection,
    chat: str,
    user: tuple[str, Content] | None,
    assistant: str,
    replaces: str | None,
    title: str,
    owner: str,
    now: float,
) -> None:
    """The question and the empty answer to come, in one step. user None: the question that stands last is answered again.

    Raises `busy` while an answer of this chat is unfinished.
    """
    if db.execute("SELECT 1 FROM messages WHERE chat = ? AND state = 'streaming'", (chat,)).fetchone():
        raise Failure(
            "busy", "This chat is still answering.", "Wait for the answer, stop it, or ask in another chat.", chat
        )
    if not db.execute("UPDATE chats SET updated = ? WHERE id = ?", (now, chat)).rowcount:
        raise _gone()
    db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", (title, chat))
    if replaces is not None:
        drop_messages(db, chat, replaces)
    if user is not None:
        _add_message(db, user[0], chat, "user", "done", None, now)
        for place, part in enumerate(user[1]):
            _add_part(db, user[0], place, part)
    _add_message(db, assistant, chat, "assistant", "streaming", owner, now)


def append_text(db: sqlite3.Connection, message: str, place: int, text: str) -> None:
    """More of an answer. `place` counts up with each call; the same call twice is one piece."""
    found = db.execute("SELECT 1 FROM messages WHERE id = ? AND state = 'streaming'", (message,)).fetchone()
    if not found:
        raise Failure("not_found", "This answer was deleted or ended elsewhere.", "Ask again.", message)
    db.execute("INSERT OR IGNORE INTO parts (message, place, text) VALUES (?, ?, ?)", (message, place, text))


def finish(db: sqlite3.Connection, message: str, state: str, usage: str | None, failure: str | None) -> None:
    """End an answer; its pieces become one text. Without effect on one that has ended."""
    changed = db.execute(
        "UPDATE messages SET state = ?, usage = ?, failure = ?, owner = NULL WHERE id = ? AND state = 'streaming'",
        (state, usage, failure, message),
    ).rowcount
    if not changed:
        return
    pieces = db.execute("SELECT text FROM parts WHERE message = ? ORDER BY place", (message,)).fetchall()
    if len(pieces) > 1:
        db.execute("DELETE FROM parts WHERE message = ?", (message,))
        _add_part(db, message, 0, "".join(text for (text,) in pieces))


def drop_messages(db: sqlite3.Connection, chat: str, first: str) -> None:
    """Remove message `first` and what follows."""
    found = db.execute("SELECT seq FROM messages WHERE id = ? AND chat = ?", (first, chat)).fetchone()
    if found is None:
        raise Failure("not_found", "This message is gone.", "Reload the chat.", first)
    db.execute("DELETE FROM messages WHERE chat = ? AND seq >= ?", (chat, found[0]))


def _add_message(
    db: sqlite3.Connection, message: str, chat: str, role: str, state: str, owner: str | None, now: float
) -> None:
    db.execute(
        "INSERT INTO messages (id, chat, role, state, created, owner) VALUES (?, ?, ?, ?, ?, ?)",
        (message, chat, role, state, now, owner),
    )


def _add_part(db: sqlite3.Connection, message: str, place: int, part: str | Image) -> None:
    row = (part, None, None) if isinstance(part, str) else (None, part.mime, part.data)
    db.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", (message, place, *row))


def copy_chat(source: sqlite3.Connection, target: sqlite3.Connection, chat: str) -> None:
    """The rows of one chat, as they are, into an emptier twin."""
    of_chat = "SELECT * FROM messages WHERE chat = ?"
    of_parts = "SELECT parts.* FROM parts JOIN messages m ON m.id = parts.message WHERE m.chat = ?"
    with transaction(target):
        for table, query in (
            ("chats", "SELECT * FROM chats WHERE id = ?"),
            ("messages", of_chat),
            ("parts", of_parts),
        ):
            for row in source.execute(query, (chat,)):
                target.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 our own names


# ---------------------------------------------------------------------------------------------- reads


def list_chats(db: sqlite3.Connection, search: str) -> list[dict[str, Any]]:
    """Newest first. search: text that the title or a message holds, whatever the case."""
    where = ""
    if search:
        where = """ WHERE instr(fold(title), :q) OR EXISTS (
            SELECT 1 FROM messages m WHERE m.chat = c.id AND instr(fold(
                (SELECT group_concat(text, '') FROM (SELECT text FROM parts p WHERE p.message = m.id ORDER BY place))
            ), :q))"""
    rows = db.execute(f"{_CHAT}{where} ORDER BY updated DESC, rowid DESC LIMIT {LIST_LIMIT}", {"q": search.casefold()})
    return [_chat(row) for row in rows]


def read_chat(db: sqlite3.Connection, chat: str) -> dict[str, Any]:
    """The chat with its messages in order; content as `str` and `Image`."""
    row = db.execute(f"{_CHAT} WHERE id = ?", (chat,)).fetchone()
    if row is None:
        raise _gone()
    messages: dict[str, dict[str, Any]] = {}
    for id_, role, state, created, usage, failure in db.execute(
        "SELECT id, role, state, created, usage, failure FROM messages WHERE chat = ? ORDER BY seq", (chat,)
    ):
        messages[id_] = {
            "id": id_,
            "role": role,
            "content": [],
            "state": state,
            "usage": json.loads(usage) if usage else None,
            "created": created,
        }
        if failure:
            messages[id_]["failure"] = json.loads(failure)
    for message, text, mime, data in db.execute(
        """SELECT p.message, p.text, p.mime, p.data FROM parts p JOIN messages m ON m.id = p.message
        WHERE m.chat = ? ORDER BY m.seq, p.place""",
        (chat,),
    ):
        content = messages[message]["content"]
        if mime:
            content.append(Image(mime, data))
        elif content and isinstance(content[-1], str) and messages[message]["role"] == "assistant":
            content[-1] += text
        else:
            content.append(text)
    return {**_chat(row), "messages": list(messages.values())}


def _chat(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"id": row[0], "title": row[1], "notebook": row[2], "updated": row[3], "messages": row[4]}
