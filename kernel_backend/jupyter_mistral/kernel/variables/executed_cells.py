"""Reconstructs the notebook in a kernel, for `--context`: from the executed cells, and from the saved file if there is one.

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
class ExecutedCell:
    """A cell that ran: prompt number, source as typed, and its value and error if there were any."""

    number: int
    source: str
    value: Any = None
    error: str = ""


def to_notebook(
    executed: Sequence[ExecutedCell], current: str, path: Path | None, scope: Scope
) -> tuple[dict[str, Any] | None, int | None]:
    """The notebook without the cell `current`, which asks, and the index of the cell above it; None if there are no cells.

    The saved file supplies the order, the Markdown cells and the printed output; the executed cells supply everything newer.
    """
    saved = _read_cells(path) if path else None
    if saved:
        above, below = _split_at_current(saved, executed, current)
    else:
        above, below = [_of_executed(cell) for cell in executed], []
    focus = len(above) - 1 if above else 0
    notebook = {"cells": above + (below if scope == "notebook" else []), "language": "python"}
    if not notebook["cells"]:
        return None, None
    return (notebook | {"path": path.name} if path else notebook), focus


def find_notebook(namespace: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path | None:
    """The notebook's file, as announced by the Jupyter server or VS Code; None if it is unknown."""
    for name in (namespace.get("__vsc_ipynb_file__"), environ.get("JPY_SESSION_NAME")):
        if isinstance(name, str) and name.endswith(".ipynb") and Path(name).is_file():
            return Path(name)
    return None


def _read_cells(path: Path) -> list[dict[str, Any]] | None:
    try:
        if path.stat().st_size > MAX_FILE:
            return None
        cells = json.loads(path.read_text("utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(cells, list):
        return None
    valid = [c for c in cells if isinstance(c, dict) and c.get("cell_type") in ("code", "markdown", "raw")]
    return valid or None


def _split_at_current(
    saved: list[dict[str, Any]], executed: Sequence[ExecutedCell], current: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The cells above and below the current one."""
    sources = [_source(cell).strip() for cell in saved]
    runs = {cell.source.strip(): cell for cell in executed}
    if current.strip() in sources:
        start = len(sources) - 1 - sources[::-1].index(current.strip())
        end = start + 1
    else:  # the file does not contain it yet: assume that it is below the last cell that ran
        start = end = max((i + 1 for i, source in enumerate(sources) if source in runs), default=len(sources))
    cells = [_update(cell, runs.get(source)) for cell, source in zip(saved, sources, strict=True)]
    unsaved = [_of_executed(cell) for cell in executed if cell.source.strip() not in sources]
    return cells[:start] + unsaved, cells[end:]


def _update(cell: dict[str, Any], run: ExecutedCell | None) -> dict[str, Any]:
    """A saved cell, with the outputs of its last run if the saved ones are older."""
    if cell["cell_type"] != "code":
        return {"cell_type": cell["cell_type"], "metadata": {}, "source": _source(cell)}
    if run is not None and cell.get("execution_count") != run.number:
        return _of_executed(run)
    outputs = [_shorten_output(o) for o in cell.get("outputs") or () if isinstance(o, dict)]
    return _cell(_source(cell), cell.get("execution_count"), outputs)


def _shorten_output(output: dict[str, Any]) -> dict[str, Any]:
    """An output with its texts cut, and with each image replaced with its size in bytes."""
    kind = output.get("output_type")
    if kind == "stream":
        return {
            "output_type": "stream",
            "name": output.get("name", "stdout"),
            "text": _cut(_join(output.get("text"))),
        }
    if kind == "error":
        return {k: output.get(k, "") for k in ("output_type", "ename", "evalue")} | {
            "traceback": [_cut(_join(output.get("traceback"), "\n"))]
        }
    data = output.get("data") or {}
    short: dict[str, Any] = {k: _cut(_join(v)) for k, v in data.items() if k in _TEXT_TYPES}
    short |= {k: len(_join(v)) * 3 // 4 for k, v in data.items() if k.startswith("image/")}
    return {"output_type": "display_data", "data": short, "metadata": {}}


def _of_executed(run: ExecutedCell) -> dict[str, Any]:
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
    return _join(cell.get("source"))


def _join(value: Any, separator: str = "") -> str:
    if isinstance(value, list):
        return separator.join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_OUTPUT else f"{text[:MAX_OUTPUT]}…"
