"""The audit log that an admin may switch on: who asked which model when, at what cost, with what outcome. Never what was said.

One JSON object a line, one file a day, each record chained to the one before it by its hash, so that a changed, missing or
moved record is found. What no chain can show is a cut at its very end: `verify` prints the last hash, to be kept elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from ...protocol import HOME_ENV
from ...protocol.failures import Failure

log = logging.getLogger(__name__)
START = "0" * 64  # what the first record of all is chained to
TAIL = 2**16  # bytes of a file in which its last record usually is
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)  # neither is known to Windows


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
        self._lost, self._fault = 0, ""
        self._turn = threading.Lock()

    def require(self, facts: Mapping[str, Any]) -> None:
        """Write the record of what is about to begin. Raises `Failure("not_recorded")`: then it must not begin."""
        if fault := self.add(facts):
            raise _failure(fault)

    def add(self, facts: Mapping[str, Any]) -> str:
        """Write a record through to the disk; why it could not be, empty where it was.

        What cannot be written is counted, told in the log and by `failure`, and told in the next record.
        """
        with self._turn:
            try:
                self._append(facts)
                self._lost, self._fault = 0, ""
            except OSError as error:
                self._lost, self._fault = self._lost + 1, error.strerror or "unknown fault"
                lost = _count(self._lost, "audit record")
                log.error("mistral: %s could not be written in %s: %s", lost, self._place, self._fault)
            return self._fault

    @property
    def failure(self) -> Failure | None:
        """What is wrong, as long as the latest record could not be written."""
        return _failure(self._fault) if self._fault else None

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
                try:
                    path.unlink()
                except OSError as error:  # the record stands: no reason to refuse what it is of
                    log.error("mistral: %s is older than %d days and stays: %s", path, self._days, error.strerror)


def _failure(fault: str) -> Failure:
    return Failure(
        "not_recorded",
        f"The audit log cannot be written ({fault}), so requests are refused: none may run unrecorded.",
        "Have whoever runs the server make room, or mend the rights of its folder: the server's log names it.",
    )


def _write(path: Path, line: bytes) -> None:
    """All of a line or nothing of it."""
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
def _locked(place: Path) -> Iterator[None]:
    handle = os.open(place / ".lock", os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
    try:
        with contextlib.suppress(ImportError):  # Windows: two servers there must not share a folder
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("audit-*.jsonl"))


def _last(place: Path) -> tuple[int, str]:
    """Number and hash of the last whole record; half a line, left by a power cut, is closed off by a line of its own."""
    for path in reversed(_files(place)):
        for i, end in enumerate(_ends(path)):
            if not i and not end.endswith(b"\n"):
                _write(path, b"\n")
            for line in reversed(end.splitlines()):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    return int(record["n"]), str(record["hash"])
    return 0, START


def _ends(path: Path) -> Iterator[bytes]:
    """The last bytes of a file, more of them each time it is asked: a day's records may be many, and the last is short."""
    with path.open("rb") as file:
        size, reach = file.seek(0, os.SEEK_END), 0
        while reach < size:
            reach = 8 * reach or TAIL
            file.seek(max(0, size - reach))
            yield file.read(reach)


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


@dataclass(frozen=True)
class Verdict:
    """What `verify` found. fault: the first one, "" where there is none; all else is of the records before it.

    first, number: of the first record that is kept and of the last one; since, until: their times. lost: records that could
    not be written, by the log's own count. torn: lines that a power cut left unfinished between two records that follow
    each other. kept: number of the record whose hash was asked for, 0 for none.
    """

    count: int = 0
    first: int = 0
    number: int = 0
    last: str = START
    since: str = ""
    until: str = ""
    lost: int = 0
    torn: int = 0
    kept: int = 0
    fault: str = ""


def verify(place: Path, keeps: str = "") -> Verdict:
    """Whether the records hold together, from the first that is there. keeps: a last hash of an earlier day to look for."""
    so_far, torn = Verdict(), []
    for where, record in records(place):
        if record is None:
            torn.append(where)
            continue
        fault = _fault(record, so_far, bool(torn))
        if fault:
            return replace(
                so_far, fault=f"{torn[0]} is no record" if torn else f"{where} (record {record.get('n')}) {fault}"
            )
        number = int(record["n"])
        so_far = Verdict(
            count=so_far.count + 1,
            first=so_far.first or number,
            number=number,
            last=str(record["hash"]),
            since=so_far.since or str(record.get("time")),
            until=str(record.get("time")),
            lost=so_far.lost + int(record.get("lost_before", 0)),
            torn=so_far.torn + len(torn),
            kept=number if keeps == record["hash"] else so_far.kept,
        )
        torn = []
    # at the very end no record shows any more that nothing is missing
    return replace(so_far, fault=f"{torn[0]} is no record") if torn else so_far


def _fault(record: Mapping[str, Any], before: Verdict, is_after_gap: bool) -> str:
    if record.get("hash") != hash_of(record) or not isinstance(record.get("n"), int):
        return "was changed"
    is_chained = record.get("previous") == before.last and record["n"] == before.number + 1
    # the first that is kept follows records that were deleted for their age
    if not is_chained and (before.count or is_after_gap):
        return f"does not follow record {before.number}"
    return ""


# ---------------------------------------------------------------------------------------------- the command


def main(argv: list[str]) -> int:
    """`jupyter mistral audit verify|export`. Returns 1 where the chain is broken."""
    parser = argparse.ArgumentParser("jupyter mistral audit", description="Check or print the audit log.")
    parser.add_argument("what", choices=("verify", "export"))
    parser.add_argument("--folder", type=Path, default=folder(), help="where the log lies (default: %(default)s)")
    parser.add_argument(
        "--keeps",
        metavar="HASH",
        default="",
        help="the last hash that an earlier `verify` printed: is it still in there?",
    )
    args = parser.parse_args(argv)
    if not _files(args.folder):
        todo = "An admin switches it on by c.MistralExtension.audit_log = True."
        raise Failure("not_found", f"There is no audit log in {args.folder}.", todo)
    if args.what == "export":
        for _, record in records(args.folder):
            if record is not None:
                print(json.dumps(record))
        return 0
    found = verify(args.folder, args.keeps)
    print("\n".join(_told(found)))
    is_cut = bool(args.keeps) and not found.kept
    if is_cut:
        older = ", or that record was deleted for its age" if found.first > 1 else ""
        print(f"broken: no record has the hash {args.keeps}: the log was cut off or written anew{older}")
    return int(is_cut or bool(found.fault))


def _told(found: Verdict) -> Iterator[str]:
    if found.fault:
        yield f"broken: {found.fault}; the {_count(found.count, 'record')} before it hold together"
    else:
        yield f"{_count(found.count, 'record')} hold together; the last hash is {found.last}"
    if found.count:
        yield f"record {found.first} of {found.since} to record {found.number} of {found.until}"
    if found.first > 1:
        yield f"the {_count(found.first - 1, 'record')} before them are not here: deleted for their age, or by somebody"
    if found.lost:
        yield f"{_count(found.lost, 'record')} could not be written at the time, as the records after them tell"
    if found.torn:
        yield f"{_count(found.torn, 'line')} unfinished, as a power cut leaves them; no record is missing there"
    if found.kept:
        yield f"the hash that you kept is that of record {found.kept}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
