"""Many clients at once, of which some vanish: nothing fails, nothing is left behind. The figures are a benchmark's business."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "endpoint.py"


def test_a_crowd_leaves_no_error_no_request_and_no_task_behind(models_home: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--clients=30", "--rounds=1", "--tokens=4"]
    environ = {**os.environ, "JUPYTER_MISTRAL_TEST_MODELS": str(models_home)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 requests" in done.stdout
    assert "5xx: 0" in done.stdout
    assert "left behind: 0 tasks [], 0 running, 0 queued" in done.stdout
