"""How much a run tries: the short check of a change, or everything (`python3 tests/run.py --all`)."""

from __future__ import annotations

import os
from typing import Any

import pytest

SWITCH = "JUPYTER_MISTRAL_TESTS_ALL"
# set by conftest.py before any test module is imported
IS_ALL = os.environ.get(SWITCH) == "1"


def examples(whole: int) -> int:
    """Hypothesis examples for this run: a tenth (at least ten) in the short check, all under --all, ten times that in a search."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "search":
        return 10 * whole
    return whole if IS_ALL else min(whole, max(10, whole // 10))


def first(keep: int, values: list[Any]) -> list[Any]:
    """Parameters of a test of which the short check tries the first `keep`, and --all every one."""
    return values[:keep] + [
        pytest.param(*value.values, marks=[*value.marks, pytest.mark.slow], id=value.id)
        if hasattr(value, "marks")
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values[keep:]
    ]
