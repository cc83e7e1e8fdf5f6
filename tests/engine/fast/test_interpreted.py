"""GPU kernels equal their references under Triton's interpreter. One process runs all files of `interpreted/`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from effort import IS_ALL

FILES = sorted((Path(__file__).parent / "interpreted").glob("*.py"))


def test_kernels_equal_their_references() -> None:
    pytest.importorskip("triton")
    effort = [] if IS_ALL else ["-m", "not slow"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--noconftest",
        "-p",
        "no:cacheprovider",
        *effort,
        *map(str, FILES),
    ]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
