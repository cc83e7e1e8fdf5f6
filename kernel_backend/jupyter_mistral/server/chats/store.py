"""Stores chats durably. Every call runs in one thread off the event loop; if the disk fails, chats continue in memory.

A chat that changes while the file cannot be written is copied to a database in memory and stays there, marked as not saved,
until its pending writes succeed. Knows nothing of engines and HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from jupyter_core.paths import jupyter_data_dir

from ...protocol import HOME_ENV
from ...protocol.failures import Failure
from . import queries, schema
from .owner import Owner, interrupt_orphans
from .queries import Content, new_id

log = logging.getLogger(__name__)
RETRY_S = 2.0
BUSY_S = 5.0  # how long to wait for another server's write
T = TypeVar("T")
Write: TypeAlias = Callable[[sqlite3.Connection], None]
# errors of the file and its disk; a failed constraint is none
DISK_ERRORS = (sqlite3.OperationalError, sqlite3.DatabaseError, OSError)


def default_path() -> Path:
    home = os.environ.get(HOME_ENV)
    return (Path(home) if home else Path(jupyter_data_dir()) / "mistral") / "chats" / "chats.sqlite"


class History:
    """Chats and messages of one user; several servers may share the file. The first call opens it."""

    def __init__(self, path: Path | None = None, retry_s: float = RETRY_S, busy_s: float = BUSY_S) -> None:
        self._path, self._retry_s, self._busy_s = path or default_path(), retry_s, busy_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mistral-history")
        self._memory = schema.open_memory()
        self._is_open = self._is_closed = False
        self._disk: sqlite3.Connection | None = None
        self._me = new_id()
        self._owner: Owner | None = None
        self._unsaved: set[str] = set()
        self._pending: list[Write] = []
        self._retrier: asyncio.Task[None] | None = None
        self.problem = ""  # why chats are not saved, a sentence; empty while they are

    async def close(self) -> None:
        """Save pending writes if possible. A second call has no effect."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._retrier:
            self._retrier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retrier
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    # ------------------------------------------------------------------------------------------ reads

    async def chats(self, search: str = "") -> list[dict[str, Any]]:
        """Newest first, without messages; `saved`: everything is on disk."""
        return await self._do(partial(self._list, search))

    async def chat(self, chat: str) -> dict[str, Any]:
        """A chat with its messages. Raises `not_found`."""
        return await self._do(partial(self._read, chat))

    # ------------------------------------------------------------------------------------------ writes, True if saved on disk

    async def create(self, title: str = "", notebook: str | None = None) -> str:
        chat, now = new_id(), time.time()
        await self._write(chat, lambda db: queries.add_chat(db, chat, title, notebook, now))
        return chat

    async def rename(self, chat: str, title: str) -> bool:
        return await self._write(chat, lambda db: queries.rename_chat(db, chat, title))

    async def delete(self, chat: str) -> bool:
        return await self._write(chat, lambda db: queries.drop_chat(db, chat))

    async def add_turn(
        self,
        chat: str,
        user: tuple[str, Content] | None,
        assistant: str,
        now: float,
        replaces: str | None = None,
        title: str = "",
    ) -> bool:
        """Store a question and its empty answer. Raises `busy` while the chat has an unfinished answer."""
        await self._do(self._interrupt_orphans)
        me = self._me
        return await self._write(chat, lambda db: queries.add_turn(db, chat, user, assistant, replaces, title, me, now))

    async def append(self, chat: str, message: str, place: int, text: str) -> bool:
        return await self._write(chat, lambda db: queries.append_text(db, message, place, text))

    async def finish(
        self,
        chat: str,
        message: str,
        state: str,
        usage: Mapping[str, Any] | None = None,
        failure: Mapping[str, Any] | None = None,
    ) -> bool:
        """state: done, interrupted or failed."""
        texts = [json.dumps(value) if value else None for value in (usage, failure)]
        return await self._write(chat, lambda db: queries.finish(db, message, state, *texts))

    async def drop_messages(self, chat: str, first: str) -> bool:
        """Remove message `first` and all later ones."""
        return await self._write(chat, lambda db: queries.drop_messages(db, chat, first))

    def is_saved(self, chat: str) -> bool:
        return chat not in self._unsaved

    # ------------------------------------------------------------------------------------------ in the thread

    async def _do(self, call: Callable[[], T]) -> T:
        if self._is_closed:
            raise Failure("engine_stopped", "Jupyter Mistral is shutting down.", "Restart Jupyter.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, call)

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            if not self._is_open:
                self._is_open = True
                self._open_disk()
            return call()
        except DISK_ERRORS as error:
            raise Failure(
                "internal", f"The saved chats cannot be read: {error}.", f"Check the file {self._path}."
            ) from error

    async def _write(self, chat: str, write: Write) -> bool:
        saved = await self._do(partial(self._save, chat, write))
        if not saved and (self._retrier is None or self._retrier.done()):
            self._retrier = asyncio.get_running_loop().create_task(self._retry())
        return saved

    async def _retry(self) -> None:
        saved = False
        while not saved:
            await asyncio.sleep(self._retry_s)
            saved = await self._do(self._flush)

    def _open_disk(self) -> bool:
        try:
            try:
                self._disk = schema.open_file(self._path, self._busy_s)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._move_aside(error)
                self._disk = schema.open_file(self._path, self._busy_s)
            self._owner = self._owner or Owner(self._me, self._path.parent, self._disk)
            interrupt_orphans(self._disk, self._owner)
            self.problem = ""
        except (*DISK_ERRORS, Failure) as error:
            self._disk_failed(error)
            if self._disk is not None:
                self._disk.close()
                self._disk = None
        return self._disk is not None

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        """Keep a damaged file for recovery and start with an empty one."""
        aside = self._path.with_name(f"{self._path.name}.broken-{int(time.time())}")
        log.warning("%s is damaged (%s); it was moved to %s", self._path, error, aside)
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).rename(f"{aside}{suffix}")

    def _close(self) -> None:
        if self._pending:
            self._flush()
        if self._disk is not None:
            self._disk.close()
        if self._owner is not None:
            self._owner.close()
        self._memory.close()

    def _list(self, search: str) -> list[dict[str, Any]]:
        chats = [{**chat, "saved": False} for chat in queries.list_chats(self._memory, search)]
        if self._disk is not None:
            with schema.snapshot(self._disk):
                on_disk = queries.list_chats(self._disk, search)
            chats += [{**chat, "saved": True} for chat in on_disk if chat["id"] not in self._unsaved]
        return sorted(chats, key=lambda chat: float(chat["updated"]), reverse=True)

    def _read(self, chat: str) -> dict[str, Any]:
        self._interrupt_orphans()
        db = self._db(chat)
        with schema.snapshot(db):
            return {**queries.read_chat(db, chat), "saved": chat not in self._unsaved}

    def _db(self, chat: str) -> sqlite3.Connection:
        return self._memory if self._disk is None or chat in self._unsaved else self._disk

    def _interrupt_orphans(self) -> None:
        if self._disk is not None and self._owner is not None:
            with contextlib.suppress(*DISK_ERRORS):
                interrupt_orphans(self._disk, self._owner)

    def _save(self, chat: str, write: Write) -> bool:
        if not self._pending and self._disk is not None:
            try:
                with schema.transaction(self._disk):
                    write(self._disk)
                return True
            except sqlite3.IntegrityError:
                raise _deleted_elsewhere() from None
            except DISK_ERRORS as error:
                self._disk_failed(error)
        self._save_in_memory(chat, write)
        self._pending.append(write)
        return False

    def _save_in_memory(self, chat: str, write: Write) -> None:
        try:
            if chat not in self._unsaved and self._disk is not None:
                queries.copy_chat(self._disk, self._memory, chat)
            self._unsaved.add(chat)
            with schema.transaction(self._memory):
                write(self._memory)
        except sqlite3.IntegrityError:
            raise _deleted_elsewhere() from None
        except sqlite3.OperationalError:
            raise Failure(
                "no_memory", f"Too many changes wait to be saved. {self.problem}", "Free disk space, then try again."
            ) from None

    def _flush(self) -> bool:
        """Run the pending writes in order in one transaction; True if none is left."""
        if self._disk is None and not self._open_disk():
            return False
        assert self._disk is not None
        if not self._pending:
            return True
        try:
            with schema.transaction(self._disk):
                for write in self._pending:
                    # another server may have deleted the chat meanwhile: then there is nothing to save
                    with contextlib.suppress(sqlite3.IntegrityError, Failure), schema.savepoint(self._disk):
                        write(self._disk)
        except DISK_ERRORS as error:
            self._disk_failed(error)
            return False
        self._pending.clear()
        self._memory.close()
        self._memory = schema.open_memory()
        self.problem = ""
        self._unsaved.clear()  # last: another thread that sees everything saved must not see a problem
        return True

    def _disk_failed(self, error: Exception) -> None:
        if not self.problem:
            log.warning("Chats cannot be saved at the moment: %s", error)
        self.problem = f"Chats cannot be saved at the moment: {str(error).rstrip('.')}."


def _deleted_elsewhere() -> Failure:
    return Failure("not_found", "This chat or message was deleted elsewhere.", "Reload the list of chats.")
