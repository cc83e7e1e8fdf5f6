"""The audit log that an admin may switch on: who asked which model when, at what cost, with what outcome. Never what was said.

One JSON object a line, one file a day, each record chained to the one before it by its hash, so that a changed, missing or
moved record is found. What no chain can show is a cut at its very end: `verify` prints the last hash, to be kept elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from ..protocol import HOME_ENV, Failure

log = logging.getLogger(__name__)
START = "0" * 64  # what the first record of all is chained to


def folder() -> Path:
    home = os.environ.get(HOME_ENV)
    return (Path(home) if home else Path(jupyter_data_dir()) / "mistral") / "audit"


def hash_of(record: Mapping[str, Any]) -> str:
    """Over everything in a record but its own hash, the hash of the record before included."""
    told = {name: value for name, value in record.items() if name != "hash"}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def audit_of(settings: Mapping[str, Any]) -> AuditLog | None:
    """The log that an admin's settings ask for."""
    return AuditLog(folder(), int(settings.get("audit_days", 0))) if settings.get("audit_log") else None


class AuditLog:
    """Appends records; several servers may share a folder. days: older files are deleted, 0 keeps them."""

    def __init__(self, place: Path, days: int = 0) -> None:
        self._place, self._days = place, days
        self._lost = 0

    def add(self, facts: Mapping[str, Any]) -> None:
        """Write a record through to the disk. What cannot be written is counted, told in the log, and told in the next record."""
        try:
            self._append(facts)
            self._lost = 0
        except OSError as error:
            self._lost += 1
            log.error("mistral: %d audit records could not be written: %s", self._lost, error.strerror)

    def _append(self, facts: Mapping[str, Any]) -> None:
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.now(timezone.utc)
        with _locked(self._place):
            number, before = _last(self._place)
            record = {"n": number + 1, "time": now.isoformat(timespec="milliseconds"), **facts, "previous": before}
            if self._lost:
                record["lost_before"] = self._lost
            record["hash"] = hash_of(record)
            # after the newest file, also where the clock went back
            names = [path.name for path in _files(self._place)]
            name = max([f"audit-{now:%Y-%m-%d}.jsonl", *names])
            line = json.dumps(record).encode() + b"\n"
            _write(self._place / name, line)
            self._forget(now.timestamp(), name)

    def _forget(self, now: float, newest: str) -> None:
        for path in _files(self._place):
            if self._days and path.name != newest and now - path.stat().st_mtime > self._days * 86400:
                path.unlink()


def _write(path: Path, line: bytes) -> None:
    """All of a line or nothing of it."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
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
def _locked(place: Path) -> Iterator[None]:
    handle = os.open(place / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("audit-*.jsonl"))


def _last(place: Path) -> tuple[int, str]:
    """Number and hash of the last whole record; half a line, left by a power cut, is closed off by a line of its own."""
    for path in reversed(_files(place)):
        raw = path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            _write(path, b"\n")
        for line in reversed(raw.splitlines()):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                return int(record["n"]), str(record["hash"])
    return 0, START


# ---------------------------------------------------------------------------------------------- reading it


def records(place: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each line as (file:line, record); None for a line that is no record."""
    for path in _files(place):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            yield f"{path.name}:{number}", record if isinstance(record, dict) else None


def verify(place: Path) -> tuple[int, str, str]:
    """Records that hold together from the first that is kept, the last hash, and the first fault, "" where there is none."""
    count, before, number = 0, "", 0
    for where, record in records(place):
        if record is None:
            return count, before, f"{where} is no record"
        if record.get("hash") != hash_of(record):
            return count, before, f"{where} (record {record.get('n')}) was changed"
        if count and (record.get("previous") != before or record.get("n") != number + 1):
            return count, before, f"{where} (record {record.get('n')}) does not follow record {number}"
        count, before, number = count + 1, str(record["hash"]), int(record["n"])
    return count, before, ""


# ---------------------------------------------------------------------------------------------- the command


def main(argv: list[str]) -> int:
    """`jupyter mistral audit verify|export`. Returns 1 where the chain is broken."""
    parser = argparse.ArgumentParser("jupyter mistral audit", description="Check or print the audit log.")
    parser.add_argument("what", choices=("verify", "export"))
    parser.add_argument("--folder", type=Path, default=folder(), help="where the log lies (default: %(default)s)")
    args = parser.parse_args(argv)
    if not _files(args.folder):
        todo = "An admin switches it on by c.MistralExtension.audit_log = True."
        raise Failure("not_found", f"There is no audit log in {args.folder}.", todo)
    if args.what == "export":
        for _, record in records(args.folder):
            if record is not None:
                print(json.dumps(record))
        return 0
    count, last, fault = verify(args.folder)
    if fault:
        print(f"broken: {fault}; the {count} records before it hold together")
        return 1
    print(f"{count} records hold together; the last hash is {last}")
    return 0
