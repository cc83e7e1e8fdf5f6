"""The notebook as a kernel can know it: what it executed, and the saved file where there is one. For `--context`.

Secrets are masked where prompts are built (`context/secrets/mask.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.requests import Scope
from .describe import summarize, type_name

MAX_FILE = 50 * 2**20
MAX_OUTPUT = 20_000
_TEXT_TYPES = ("text/plain", "text/markdown", "text/html", "text/latex", "application/json")


@dataclass(frozen=True)
class Executed:
    """A cell that ran: prompt number, source as typed, its value and its error where there was one."""

    number: int
    source: str
    value: Any = None
    error: str = ""


def seen_from(
    executed: Sequence[Executed], current: str, path: Path | None, scope: Scope
) -> tuple[dict[str, Any] | None, int | None]:
    """The notebook for a question in the cell `current`, which is left out, and the index of the cell above it.

    The saved file gives order, Markdown cells and printed output, what ran gives everything newer. None where there is no cell.
    """
    saved = _read(path) if path else None
    cells = _of_file(saved, executed, current, scope) if saved else [_of_executed(e) for e in executed]
    if not cells:
        return None, None
    above, below = cells if isinstance(cells, tuple) else (cells, [])
    focus = len(above) - 1 if above else 0
    notebook = {"cells": above + (below if scope == "notebook" else []), "language": "python"}
    if not notebook["cells"]:
        return None, None
    return (notebook | {"path": path.name} if path else notebook), focus


def path_of(namespace: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path | None:
    """The notebook's file: where the Jupyter server or VS Code tells it."""
    for told in (namespace.get("__vsc_ipynb_file__"), environ.get("JPY_SESSION_NAME")):
        if isinstance(told, str) and told.endswith(".ipynb") and Path(told).is_file():
            return Path(told)
    return None


def _read(path: Path) -> list[dict[str, Any]] | None:
    try:
        if path.stat().st_size > MAX_FILE:
            return None
        cells = json.loads(path.read_text("utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(cells, list):
        return None
    good = [c for c in cells if isinstance(c, dict) and c.get("cell_type") in ("code", "markdown", "raw")]
    return good or None


def _of_file(
    saved: list[dict[str, Any]], executed: Sequence[Executed], current: str, scope: Scope
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cells above and below the current one."""
    sources = [_source(cell).strip() for cell in saved]
    runs = {e.source.strip(): e for e in executed}
    if current.strip() in sources:
        at = len(sources) - 1 - sources[::-1].index(current.strip())
        end = at + 1
    else:  # not saved since it was written: it stands below what ran last
        at = max((i + 1 for i, s in enumerate(sources) if s in runs), default=len(sources))
        end = at
    cells = [_fresh(cell, runs.get(source)) for cell, source in zip(saved, sources, strict=True)]
    unsaved = [_of_executed(e) for e in executed if e.source.strip() not in sources]
    return cells[:at] + unsaved, cells[end:]


def _fresh(cell: dict[str, Any], run: Executed | None) -> dict[str, Any]:
    """A saved cell; with the outputs of its last run where the file's are older."""
    if cell["cell_type"] != "code":
        return {"cell_type": cell["cell_type"], "metadata": {}, "source": _source(cell)}
    if run is not None and cell.get("execution_count") != run.number:
        return _of_executed(run)
    outputs = [_lean(o) for o in cell.get("outputs") or () if isinstance(o, dict)]
    return _cell(_source(cell), cell.get("execution_count"), outputs)


def _lean(output: dict[str, Any]) -> dict[str, Any]:
    """An output with its texts cut and pictures as their size in bytes."""
    kind = output.get("output_type")
    if kind == "stream":
        return {
            "output_type": "stream",
            "name": output.get("name", "stdout"),
            "text": _cut(_joined(output.get("text"))),
        }
    if kind == "error":
        return {k: output.get(k, "") for k in ("output_type", "ename", "evalue")} | {
            "traceback": [_cut(_joined(output.get("traceback"), "\n"))]
        }
    data = output.get("data") or {}
    lean: dict[str, Any] = {k: _cut(_joined(v)) for k, v in data.items() if k in _TEXT_TYPES}
    lean |= {k: len(_joined(v)) * 3 // 4 for k, v in data.items() if k.startswith("image/")}
    return {"output_type": "display_data", "data": lean, "metadata": {}}


def _of_executed(run: Executed) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    if run.value is not None:
        text = summarize(f"Out[{run.number}]", run.value, 2000) or type_name(run.value)
        data = {"text/plain": text}
        outputs.append({"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": run.number})
    if run.error:
        name, _, message = run.error.splitlines()[-1].partition(": ")
        outputs.append({"output_type": "error", "ename": name, "evalue": message, "traceback": [run.error]})
    return _cell(run.source, run.number, outputs)


def _cell(source: str, number: int | None, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "execution_count": number,
        "outputs": outputs,
    }


def _source(cell: Mapping[str, Any]) -> str:
    return _joined(cell.get("source"))


def _joined(value: Any, between: str = "") -> str:
    if isinstance(value, list):
        return between.join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_OUTPUT else f"{text[:MAX_OUTPUT]}…"
