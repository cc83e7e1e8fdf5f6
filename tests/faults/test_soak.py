"""A short soak and a short loop of kills; `tests/benchmarks/soak.py` and `kill_loop.py` are the long ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_mistral.protocol import HOME_ENV

SOAK = Path(__file__).parent.parent / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.fault("F17", "F16", "F15")
def test_many_clients_leave_no_memory_descriptors_or_threads_behind(models_home: Path) -> None:
    line = [sys.executable, str(SOAK), "--minutes", "0.4", "--clients", "25"]
    environ = {**os.environ, HOME_ENV: str(models_home)}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=500, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "'answered': " in done.stdout and "'left': " in done.stdout and "'bad_request': " in done.stdout


@pytest.mark.slow
@pytest.mark.fault("F2")
def test_a_repeatedly_killed_host_loses_nothing_acknowledged() -> None:
    line = [sys.executable, str(SOAK.with_name("kill_loop.py")), "--kills", "15"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.startswith("15 kills, ") and ", 0 lost, 0 doubled" in done.stdout
