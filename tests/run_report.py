"""A pytest plugin that ends each run with the 20 slowest tests and the tests that needed a second try."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

FLAKY = Path(__file__).parent / "FLAKY.md"
SHOWN = 20

_seconds: defaultdict[str, float] = defaultdict(float)
_second_tries: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Called once for each phase of each test, in the process that reports."""
    _seconds[report.nodeid] += report.duration
    if report.outcome == "rerun" and report.nodeid not in _second_tries:  # type: ignore[comparison-overlap]
        _second_tries.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    slowest = sorted(_seconds.items(), key=lambda item: -item[1])[:SHOWN]
    if len(_seconds) > SHOWN:
        terminalreporter.section(f"{SHOWN} slowest tests, set-up included")
        for test, seconds in slowest:
            terminalreporter.write_line(f"{seconds:7.1f} s  {test[:110]}")
    if _second_tries:
        known = FLAKY.read_text()
        terminalreporter.section("needed a second try")
        for test in _second_tries:
            name = test.rpartition("::")[2].partition("[")[0]
            is_known = f"`{name}`" in known
            terminalreporter.write_line(
                f"{test}  {'(see FLAKY.md)' if is_known else '(NOT in tests/FLAKY.md: find its cause)'}"
            )
