"""What importing costs and needs. Who may import whom stands in pyproject.toml, as contracts that `lint-imports` checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jupyter_mistral
import pytest

PACKAGE = Path(jupyter_mistral.__file__).parent
HEAVY = {"torch", "transformers", "accelerate", "bitsandbytes", "llguidance", "gguf"}
ENTRY_POINTS = ["jupyter_mistral", "jupyter_mistral.server.app", "jupyter_mistral.kernel.magics", "jupyter_mistral.cli"]
# what the sealed processes start with, before anything else may run
FIRST = ["seal", "protocol.wire", "protocol.events", "protocol.requests", "protocol.documents", "protocol.status"]


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_importing_an_entry_point_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys, json; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    heavy = (HEAVY | {"huggingface_hub", "tokenizers", "numpy", "pandas"}) & set(json.loads(out.stdout))
    assert not heavy, f"importing {module} brings {heavy}"


@pytest.mark.parametrize("module", FIRST)
def test_what_runs_before_the_seal_needs_the_standard_library_alone(module: str) -> None:
    # -S: without site-packages
    code = f"import sys; sys.path.append({str(PACKAGE.parent)!r}); import jupyter_mistral.{module}"
    out = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr


def test_the_version_is_the_same_in_both_halves() -> None:
    package = json.loads((PACKAGE.parent.parent / "extension" / "package.json").read_text())
    assert package["version"] == jupyter_mistral.__version__
