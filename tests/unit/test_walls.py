"""Who may import whom: the table of DESIGN is checked against the source, so that no room grows into another."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
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


def _rooms() -> dict[str, list[Path]]:
    """Top-level module or folder of the package -> its files."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "labextension" not in path.parts:
            rooms.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return rooms


@pytest.mark.parametrize("room", _rooms())
def test_a_room_imports_only_what_its_wall_lets_through(room: str) -> None:
    breaches = [breach for path in _rooms()[room] for breach in _breaches(room, path)]
    assert not breaches


def _breaches(room: str, path: Path) -> Iterator[str]:
    for name in _imports(path):
        is_ours = name[0] == "jupyter_mistral"
        if is_ours and len(name) > 1 and room in MAY and name[1] not in MAY[room] | {"__version__"}:
            yield f"{path.name} imports {'.'.join(name)}"
        if name[0] in HEAVY and room != "engine":
            yield f"{path.name} imports {name[0]}"
        if name[0] == "jupyter_server" and not (room == "server" and path.name in SEES_JUPYTER_SERVER):
            yield f"{path.name} imports jupyter_server"
        if room in STANDARD_ONLY and not is_ours and name[0] not in sys.stdlib_module_names:
            yield f"{path.name} imports {name[0]}"


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
