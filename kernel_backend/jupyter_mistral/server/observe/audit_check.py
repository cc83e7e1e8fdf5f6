"""Reads the audit log and verifies its hash chain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .audit_log import START, files, hash_of


def records(folder: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each line as (file:line, record); None for a line that is no record."""
    for path in files(folder):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            yield f"{path.name}:{number}", record if isinstance(record, dict) else None


@dataclass(frozen=True)
class Verdict:
    """Result of `verify`. fault: the first one found, "" if none; everything else covers the records before it.

    first, number: numbers of the oldest and of the last record; since, until: their times. lost: records that could not be
    written, by the log's own count. torn: partial lines of power cuts, with no record missing. kept: number of the record with
    the hash that was asked for, 0 if none.
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


def verify(folder: Path, kept_hash: str = "") -> Verdict:
    """Check the chain from the oldest record on. kept_hash: a last hash of an earlier day to look for."""
    verdict, torn = Verdict(), []
    for where, record in records(folder):
        if record is None:
            torn.append(where)
            continue
        fault = _fault(record, verdict, bool(torn))
        if fault:
            text = f"{torn[0]} is no record" if torn else f"{where} (record {record.get('n')}) {fault}"
            return replace(verdict, fault=text)
        verdict = _extended(verdict, record, len(torn), kept_hash)
        torn = []
    # after a partial last line no further record proves that nothing is missing
    return replace(verdict, fault=f"{torn[0]} is no record") if torn else verdict


def _extended(verdict: Verdict, record: Mapping[str, Any], torn: int, kept_hash: str) -> Verdict:
    number, time = int(record["n"]), str(record.get("time"))
    return Verdict(
        count=verdict.count + 1,
        first=verdict.first or number,
        number=number,
        last=str(record["hash"]),
        since=verdict.since or time,
        until=time,
        lost=verdict.lost + int(record.get("lost_before", 0)),
        torn=verdict.torn + torn,
        kept=number if kept_hash == record["hash"] else verdict.kept,
    )


def _fault(record: Mapping[str, Any], before: Verdict, is_after_gap: bool) -> str:
    if record.get("hash") != hash_of(record) or not isinstance(record.get("n"), int):
        return "was changed"
    is_chained = record.get("previous") == before.last and record["n"] == before.number + 1
    # the oldest record follows records that were deleted for their age
    if not is_chained and (before.count or is_after_gap):
        return f"does not follow record {before.number}"
    return ""
