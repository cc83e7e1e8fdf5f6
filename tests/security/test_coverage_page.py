"""No threat and no fault of SECURITY.md is without a test or a reason why it has none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parent.parent


@pytest.fixture
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_page", TESTS / "coverage_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_threat_and_fault_has_a_test_or_a_reason(page: ModuleType) -> None:
    text = page.page()
    for name in [*(f"T{i}" for i in range(1, 37)), *(f"F{i}" for i in range(1, 26))]:
        assert f"\n| {name} |" in text


def test_a_row_needs_a_test_or_a_reason(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "marked", dict)
    with pytest.raises(AssertionError, match="neither a test nor a reason"):
        page.page()
