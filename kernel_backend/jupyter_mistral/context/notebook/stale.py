"""Where what is shown may be old: cells run out of order, edited since they ran, never run, or read before they are defined."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Mapping, Sequence

from .cells import Cell
from .dataflow import Graph

_BUILTIN = frozenset(dir(builtins)) | {"get_ipython", "display", "_", "__", "In", "Out"}


def marks(cells: Sequence[Cell]) -> dict[str, tuple[int, str]]:
    """For each code cell that has run its run number and what its source was: kept, it shows an edit made after the run."""
    return {_key(c): (c.run, _digest(c)) for c in cells if c.is_code and c.run is not None}


def remember(before: Mapping[str, tuple[int, str]], cells: Sequence[Cell]) -> dict[str, tuple[int, str]]:
    """`marks` of now, but the older source where a cell has not run again since."""
    now = marks(cells)
    return {
        key: before[key] if key in before and before[key][0] == run else (run, mark) for key, (run, mark) in now.items()
    }


def notes(cells: Sequence[Cell], names: Graph, ran: Mapping[str, tuple[int, str]]) -> list[tuple[int, str]]:
    """(cell index, sentence) for each doubt, the gravest kinds first."""
    edited = [
        (c.index, f"[cell {c.index}] was edited after it last ran: its output belongs to older code.")
        for c in cells
        if c.is_code and c.run is not None and _key(c) in ran and ran[_key(c)][1] != _digest(c)
    ]  # fmt: skip
    late = _out_of_order(cells, names)
    told = {index for index, _ in late}
    return [*edited, *late, *(n for n in _not_defined_above(cells, names) if n[0] not in told), *_never_run(cells)]


def _read_now(names: Graph, i: int) -> list[tuple[str, int]]:
    return sorted((name, at) for name, at in names.needs(i).items() if name not in names.names[i].later)


def _out_of_order(cells: Sequence[Cell], names: Graph) -> list[tuple[int, str]]:
    found = []
    for i, cell in enumerate(cells):
        if cell.run is None:
            continue
        for name, at in _read_now(names, i):
            source = cells[at]
            if source.run is not None and source.run > cell.run and name not in _BUILTIN:
                text = f"[cell {cell.index}] uses {name} and ran before [cell {source.index}], which defines it, ran again: it may be old."
                found.append((cell.index, text))
                break
    return found


def _not_defined_above(cells: Sequence[Cell], names: Graph) -> list[tuple[int, str]]:
    found = []
    for i, cell in enumerate(cells):
        for name, at in _read_now(names, i):
            if at > i and name not in _BUILTIN and not names.names[i].changes & {name}:
                found.append(
                    (cell.index, f"[cell {cell.index}] uses {name}, which only [cell {cells[at].index}] below defines.")
                )
                break
    return found


def _never_run(cells: Sequence[Cell]) -> list[tuple[int, str]]:
    if not any(c.run is not None for c in cells):
        return []
    idle = [c.index for c in cells if c.is_code and c.run is None and c.source.strip()]
    if not idle:
        return []
    listed = ", ".join(f"[cell {i}]" for i in idle[:8]) + (f" and {len(idle) - 8} more" if len(idle) > 8 else "")
    return [(idle[0], f"Not run: {listed}.")]


def _key(cell: Cell) -> str:
    return cell.key or f"#{cell.index}"


def _digest(cell: Cell) -> str:
    return hashlib.blake2b(cell.source.encode(), digest_size=8).hexdigest()
