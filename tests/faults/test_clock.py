"""Clocks that jump: waits and durations use a monotonic clock."""

from __future__ import annotations

import ast
from pathlib import Path

import jupyter_mistral
import pytest

PACKAGE = Path(jupyter_mistral.__file__).parent
# the time of day is shown to people, or names a file; nothing waits for it
SHOWN = {
    "store.py",
    "export.py",
    "running_answer.py",
    "service.py",
    "openai_format.py",
    "tokens.py",
    "audit_log.py",
}
JUMPY = {"time.time", "datetime.now", "datetime.utcnow", "datetime.today", "time.localtime"}


@pytest.mark.fault("F19")
def test_durations_are_measured_with_a_monotonic_clock() -> None:
    callers = set()
    for room in ("server", "engine", "kernel", "documents"):
        for path in (PACKAGE / room).rglob("*.py"):
            calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
            if calls & JUMPY:
                callers.add(path.name)
    assert callers <= SHOWN, callers - SHOWN
