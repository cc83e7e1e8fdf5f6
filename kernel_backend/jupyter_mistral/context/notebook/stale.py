"""Finds cells whose output may be outdated: run out of order, edited since they ran, never run, or used before defined."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Mapping, Sequence

from .cells import Cell
from .dataflow import Graph

_BUILTIN = frozenset(dir(builtins)) | {"get_ipython", "display", "_", "__", "In", "Out"}


def marks(cells: Sequence[Cell]) -> dict[str, tuple[int, str]]:
    """The run number and the source digest of each code cell that has run, by cell key."""
    return {_key(c): (c.run, _digest(c)) for c in cells if c.is_code and c.run is not None}


def remember(before: Mapping[str, tuple[int, str]], cells: Sequence[Cell]) -> dict[str, tuple[int, str]]:
    """The present `marks`, but with the earlier digest for cells that have not run again, so that later edits show."""
    now = marks(cells)
    return {
        key: before[key] if key in before and before[key][0] == run else (run, digest)
        for key, (run, digest) in now.items()
    }


def notes(cells: Sequence[Cell], names: Graph, ran: Mapping[str, tuple[int, str]]) -> list[tuple[int, str]]:
    """(cell index, sentence) for each problem, the most serious kinds first."""
    edited = [
        (c.index, f"[cell {c.index}] was edited after it last ran: its output is from the older code.")
        for c in cells
        if c.is_code and c.run is not None and _key(c) in ran and ran[_key(c)][1] != _digest(c)
    ]  # fmt: skip
    out_of_order = _out_of_order(cells, names)
    reported = {index for index, _ in out_of_order}
    return [
        *edited,
        *out_of_order,
        *(n for n in _not_defined_above(cells, names) if n[0] not in reported),
        *_never_run(cells),
    ]


def _read_now(names: Graph, i: int) -> list[tuple[str, int]]:
    return sorted((name, at) for name, at in names.needs(i).items() if name not in names.names[i].later)


def _out_of_order(cells: Sequence[Cell], names: Graph) -> list[tuple[int, str]]:
    notes = []
    for i, cell in enumerate(cells):
        if cell.run is None:
            continue
        for name, at in _read_now(names, i):
            source = cells[at]
            if source.run is not None and source.run > cell.run and name not in _BUILTIN:
                text = f"[cell {cell.index}] uses {name} and ran before [cell {source.index}], which defines it, ran again: it may be outdated."
                notes.append((cell.index, text))
                break
    return notes


def _not_defined_above(cells: Sequence[Cell], names: Graph) -> list[tuple[int, str]]:
    notes = []
    for i, cell in enumerate(cells):
        for name, at in _read_now(names, i):
            if at > i and name not in _BUILTIN and not names.names[i].changes & {name}:
                notes.append(
                    (
                        cell.index,
                        f"[cell {cell.index}] uses {name}, which is defined only in [cell {cells[at].index}] below.",
                    )
                )
                break
    return notes


def _never_run(cells: Sequence[Cell]) -> list[tuple[int, str]]:
    if not any(c.run is not None for c in cells):
        return []
    not_run = [c.index for c in cells if c.is_code and c.run is None and c.source.strip()]
    if not not_run:
        return []
    listed = ", ".join(f"[cell {i}]" for i in not_run[:8]) + (
        f" and {len(not_run) - 8} more" if len(not_run) > 8 else ""
    )
    return [(not_run[0], f"Not run: {listed}.")]


def _key(cell: Cell) -> str:
    return cell.key or f"#{cell.index}"


def _digest(cell: Cell) -> str:
    return hashlib.blake2b(cell.source.encode(), digest_size=8).hexdigest()
