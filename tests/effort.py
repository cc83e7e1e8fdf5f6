"""How much a run tests: the short check, or everything (`python3 tests/run.py --all`)."""

from __future__ import annotations

import os
from typing import Any

import pytest

SWITCH = "JUPYTER_MISTRAL_TESTS_ALL"
# set by conftest.py before any test module is imported
IS_ALL = os.environ.get(SWITCH) == "1"


def examples(whole: int) -> int:
    """Number of hypothesis examples: a tenth (at least ten) in the short check, all with --all, ten times as many in a search."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "search":
        return 10 * whole
    return whole if IS_ALL else min(whole, max(10, whole // 10))


def first(keep: int, values: list[Any]) -> list[Any]:
    """Parameters of a test: the short check uses the first `keep`, --all uses every one."""
    return values[:keep] + [
        pytest.param(*value.values, marks=[*value.marks, pytest.mark.slow], id=value.id)
        if hasattr(value, "marks")
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values[keep:]
    ]
