"""The audit log that an admin may enable: who asked which model when, what it cost and how it ended. Never what was said.

JSON lines, one file a day. Each record contains the hash of the one before, so a changed, missing or moved record is noticed.
A hash chain cannot show a cut at its end: `audit_check.verify` returns the last hash, to be kept elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from ...protocol import HOME_ENV
from ...protocol.failures import Failure

log = logging.getLogger(__name__)
START = "0" * 64  # the hash before the first record
TAIL_BYTES = 2**16  # end of a file that usually contains its last record
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)  # Windows has neither


def folder() -> Path:
    home = os.environ.get(HOME_ENV)
    return (Path(home) if home else Path(jupyter_data_dir()) / "mistral") / "audit"


def hash_of(record: Mapping[str, Any]) -> str:
    """The hash of a record: of all its fields but `hash`, including the hash of the record before."""
    fields = {name: value for name, value in record.items() if name != "hash"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def audit_of(settings: Mapping[str, Any]) -> AuditLog | None:
    """The log that an admin's settings enable."""
    return AuditLog(folder(), int(settings.get("audit_days", 0))) if settings.get("audit_log") else None


class AuditLog:
    """Appends records; several servers may share a folder. days: older files are deleted, 0 keeps them."""

    def __init__(self, folder: Path, days: int = 0) -> None:
        self._folder, self._days = folder, days
        self._lost, self._fault = 0, ""
        self._lock = threading.Lock()

    def require(self, facts: Mapping[str, Any]) -> None:
        """Write the record of an action that is about to begin. Raises `Failure("not_recorded")`: then it must not begin."""
        if fault := self.add(facts):
            raise _failure(fault)

    def add(self, facts: Mapping[str, Any]) -> str:
        """Write a record through to the disk; returns why that failed, or "".

        Lost records are logged, reported by `failure` and counted in the next record.
        """
        with self._lock:
            try:
                self._append(facts)
                self._lost, self._fault = 0, ""
            except OSError as error:
                self._lost, self._fault = self._lost + 1, error.strerror or "unknown error"
                records = "1 audit record" if self._lost == 1 else f"{self._lost} audit records"
                log.error("mistral: %s could not be written in %s: %s", records, self._folder, self._fault)
            return self._fault

    @property
    def failure(self) -> Failure | None:
        """Why the latest record could not be written; None if it was."""
        return _failure(self._fault) if self._fault else None

    def _append(self, facts: Mapping[str, Any]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.now(timezone.utc)
        with _locked(self._folder):
            number, previous = _last(self._folder)
            record = {"n": number + 1, "time": now.isoformat(timespec="milliseconds"), **facts, "previous": previous}
            if self._lost:
                record["lost_before"] = self._lost
            record["hash"] = hash_of(record)
            # never before the newest file, even if the clock was set back
            names = [path.name for path in files(self._folder)]
            name = max([f"audit-{now:%Y-%m-%d}.jsonl", *names])
            _write(self._folder / name, json.dumps(record).encode() + b"\n")
            self._delete_old(now.timestamp(), name)

    def _delete_old(self, now: float, newest: str) -> None:
        for path in files(self._folder):
            if self._days and path.name != newest and now - path.stat().st_mtime > self._days * 86400:
                try:
                    path.unlink()
                except OSError as error:  # the record is written: no reason to refuse the action
                    log.error("mistral: %s is older than %d days and stays: %s", path, self._days, error.strerror)


def files(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(folder.glob("audit-*.jsonl"))


def _failure(fault: str) -> Failure:
    return Failure(
        "not_recorded",
        f"The audit log cannot be written ({fault}). Requests are refused because none may run unrecorded.",
        "Ask whoever runs the server to free disk space or fix the folder's permissions; the server's log names the folder.",
    )


def _write(path: Path, line: bytes) -> None:
    """Append a whole line or nothing."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o600)
    try:
        size = os.fstat(handle).st_size
        try:
            if os.write(handle, line) != len(line):
                raise OSError(28, "No space left on device")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
    try:
        with contextlib.suppress(ImportError):  # Windows: two servers there must not share a folder
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _last(folder: Path) -> tuple[int, str]:
    """Number and hash of the last complete record. Ends a partial line, left by a power cut, so that the next record has its own."""
    for path in reversed(files(folder)):
        for i, tail in enumerate(_tails(path)):
            if not i and not tail.endswith(b"\n"):
                _write(path, b"\n")
            for line in reversed(tail.splitlines()):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    return int(record["n"]), str(record["hash"])
    return 0, START


def _tails(path: Path) -> Iterator[bytes]:
    """The last bytes of a file, each time more: a day may have many records, and the last one is short."""
    with path.open("rb") as file:
        size, length = file.seek(0, os.SEEK_END), 0
        while length < size:
            length = 8 * length or TAIL_BYTES
            file.seek(max(0, size - length))
            yield file.read(length)
