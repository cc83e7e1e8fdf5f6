"""Reads and writes of chats as plain functions of a connection. Knows no event loop, no engine, no HTTP.

Callers make the ids, so a write can run on the file and on its copy in memory with the same result.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import Any, TypeAlias

from ...protocol.failures import Failure
from ...protocol.images import Image
from .schema import transaction

LIST_LIMIT = 1000
_CHAT = "SELECT id, title, notebook, updated, (SELECT count(*) FROM messages m WHERE m.chat = c.id) FROM chats c"

Content: TypeAlias = tuple[str | Image, ...]


def new_id() -> str:
    return uuid.uuid4().hex


def _not_found() -> Failure:
    return Failure("not_found", "This chat no longer exists.", "Choose another one or start a new one.")


# ---------------------------------------------------------------------------------------------- writes


def add_chat(db: sqlite3.Connection, chat: str, title: str, notebook: str | None, now: float) -> None:
    db.execute("INSERT INTO chats VALUES (?, ?, ?, ?, ?)", (chat, title, notebook, now, now))


def rename_chat(db: sqlite3.Connection, chat: str, title: str) -> None:
    if not db.execute("UPDATE chats SET title = ? WHERE id = ?", (title, chat)).rowcount:
        raise _not_found()


def drop_chat(db: sqlite3.Connection, chat: str) -> None:
    if not db.execute("DELETE FROM chats WHERE id = ?", (chat,)).rowcount:
        raise _not_found()


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
    """Add a question and its empty answer in one step. user: None answers the last question again.

    Raises `busy` while an answer of this chat is unfinished.
    """
    if db.execute("SELECT 1 FROM messages WHERE chat = ? AND state = 'streaming'", (chat,)).fetchone():
        raise Failure(
            "busy", "This chat is still being answered.", "Wait for the answer, stop it, or use another chat.", chat
        )
    if not db.execute("UPDATE chats SET updated = ? WHERE id = ?", (now, chat)).rowcount:
        raise _not_found()
    db.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ''", (title, chat))
    if replaces is not None:
        drop_messages(db, chat, replaces)
    if user is not None:
        _add_message(db, user[0], chat, "user", "done", None, now)
        for place, part in enumerate(user[1]):
            _add_part(db, user[0], place, part)
    _add_message(db, assistant, chat, "assistant", "streaming", owner, now)


def append_text(db: sqlite3.Connection, message: str, place: int, text: str) -> None:
    """Append to an answer. `place` counts up with each call; repeating a call has no effect."""
    is_streaming = db.execute("SELECT 1 FROM messages WHERE id = ? AND state = 'streaming'", (message,)).fetchone()
    if not is_streaming:
        raise Failure("not_found", "This answer was deleted or ended elsewhere.", "Try again.", message)
    db.execute("INSERT OR IGNORE INTO parts (message, place, text) VALUES (?, ?, ?)", (message, place, text))


def finish(db: sqlite3.Connection, message: str, state: str, usage: str | None, failure: str | None) -> None:
    """End an answer and join its pieces. Has no effect on an answer that has ended."""
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
    """Remove message `first` and all later ones."""
    row = db.execute("SELECT seq FROM messages WHERE id = ? AND chat = ?", (first, chat)).fetchone()
    if row is None:
        raise Failure("not_found", "This message no longer exists.", "Reload the chat.", first)
    db.execute("DELETE FROM messages WHERE chat = ? AND seq >= ?", (chat, row[0]))


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
    """Copy the rows of a chat unchanged."""
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
    """Newest first. search: text in the title or in a message, ignoring case."""
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
        raise _not_found()
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
