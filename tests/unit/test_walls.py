"""Who may import whom: the table of DESIGN is checked against the source, so that no room grows into another."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import jupyter_mistral
import pytest

PACKAGE = Path(jupyter_mistral.__file__).parent
HEAVY = {"torch", "transformers", "accelerate", "bitsandbytes", "llguidance", "gguf"}
# room -> rooms of ours that it may import
MAY: dict[str, set[str]] = {
    "protocol": set(),
    "wire": {"protocol"},
    "fields": {"protocol"},
    "calling": {"protocol", "fields"},
    "parsing": {"protocol", "fields", "calling"},
    "hosts": {"protocol"},
    "seal": {"protocol"},
    "templating": {"protocol"},
    "documents": {"protocol", "wire", "seal", "documents"},
    "context": {"protocol", "templating", "context", "models"},
    "kernel": {"protocol", "wire", "parsing", "hosts", "context", "kernel", "_version"},
    "models": {"protocol", "models", "_version"},
    "server": {
        "protocol",
        "wire",
        "parsing",
        "hosts",
        "context",
        "models",
        "documents",
        "server",
        "doctor",
        "_version",
    },
    "egress": {"protocol", "models", "live", "egress"},
    "engine": {"protocol", "wire", "parsing", "templating", "models", "engine", "seal", "_version"},
}
STANDARD_ONLY = {"protocol", "wire", "fields", "calling", "parsing", "seal", "templating"}
SEES_JUPYTER_SERVER = {"app.py", "routes.py", "doors.py", "chats.py"}


def _imports(path: Path) -> set[tuple[str, ...]]:
    """Dotted names that a module imports anywhere in it, relative ones made absolute."""
    package = ("jupyter_mistral", *path.relative_to(PACKAGE).parent.parts)
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
    return found


def _modules() -> list[tuple[str, Path]]:
    return [
        (path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "labextension" not in path.parts
    ]


@pytest.mark.parametrize(("room", "path"), _modules(), ids=lambda v: v.name if isinstance(v, Path) else v)
def test_a_room_imports_only_what_its_wall_lets_through(room: str, path: Path) -> None:
    for name in _imports(path):
        if name[0] == "jupyter_mistral" and len(name) > 1 and room in MAY:
            assert name[1] in MAY[room] | {"__version__"}, f"{path.name} imports {'.'.join(name)}"
        if name[0] in HEAVY:
            assert room == "engine", f"{path.name} imports {name[0]}"
        if name[0] == "jupyter_server":
            assert room == "server" and path.name in SEES_JUPYTER_SERVER, f"{path.name} imports jupyter_server"
        if room in STANDARD_ONLY and name[0] != "jupyter_mistral":
            assert name[0] in sys.stdlib_module_names, f"{path.name} imports {name[0]}"


@pytest.mark.parametrize(
    "module", ["jupyter_mistral", "jupyter_mistral.server.app", "jupyter_mistral.kernel.magics", "jupyter_mistral.cli"]
)
def test_importing_a_door_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys, json; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    heavy = (HEAVY | {"huggingface_hub", "tokenizers", "numpy", "pandas"}) & set(json.loads(out.stdout))
    assert not heavy, f"importing {module} brings {heavy}"


def test_the_version_is_the_same_in_both_halves() -> None:
    package = json.loads((PACKAGE.parent.parent / "extension" / "package.json").read_text())
    assert package["version"] == jupyter_mistral.__version__
