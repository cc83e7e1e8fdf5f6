"""Helpers for tests of the audit log: write some records, read them back, run the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from jupyter_mistral.server.observe.audit_check import records, verify
from jupyter_mistral.server.observe.audit_log import AuditLog


def all_records(folder: Path) -> list[dict[str, Any]]:
    return [record for _, record in records(folder) if record is not None]


def verified(folder: Path) -> tuple[int, str]:
    """Number of records before the first fault, and the fault."""
    verdict = verify(folder)
    return verdict.count, verdict.fault


def write_records(folder: Path, count: int = 5) -> Path:
    """The log's file."""
    log = AuditLog(folder)
    for i in range(count):
        log.add({"action": "chat", "state": "asked", "request": f"{i}"})
    (path,) = folder.glob("audit-*.jsonl")
    return path


def command(*words: str, what: str = "audit") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "jupyter_mistral.cli", what, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
