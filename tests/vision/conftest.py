"""Makes the modules of this folder and of `tests/engine` importable."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engine")]  # pytest's importlib mode does not
