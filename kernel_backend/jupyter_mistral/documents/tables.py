"""Rows of cells that stand in columns -> a Markdown table. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .words import Line

# rows of one table are no further apart than so many sizes
ROW_GAP = 3.5
# cells of running text in two columns are longer than those of a table
LONGEST_CELL = 45


@dataclass(frozen=True)
class Table:
    """count: lines that it takes."""

    markdown: str
    count: int


def table_at(lines: Sequence[Line], start: int) -> Table | None:
    """The table that begins with line `start`; None where none does."""
    rows: list[list[Line]] = []
    at = start
    while at < len(lines):
        cells = lines[at].cells
        if at > start and not 0 < lines[at - 1].base - lines[at].base < ROW_GAP * lines[at].size:
            break
        if len(cells) < 2:
            if not rows or not _is_wrapped(lines, at, rows):
                break
            _wrap(rows[-1], cells[0])
        else:
            rows.append(cells)
        at += 1
    if len(rows) < 2 or median(len(cell.text) for row in rows for cell in row) > LONGEST_CELL:
        return None
    columns = _columns(rows)
    if len(columns) < 2:
        return None
    filled = [_filled(row, columns) for row in rows]
    head, *body = filled
    text = [_row(head), "|" + " --- |" * len(columns), *map(_row, body)]
    return Table("\n".join(text), at - start)


def _is_wrapped(lines: Sequence[Line], at: int, rows: Sequence[Sequence[Line]]) -> bool:
    """Whether a lone cell is the second line of a cell above it: the table goes on below, and it stands inside a column."""
    if at + 1 >= len(lines) or len(lines[at + 1].cells) < 2:
        return False
    line = lines[at]
    above = [cell for cell in rows[-1] if cell.left < line.right and line.left < cell.right]
    is_inside = len(above) == 1 and abs(above[0].left - line.left) < line.size and len(line.text) <= LONGEST_CELL
    return is_inside and lines[at - 1].base - line.base < 1.6 * line.size


def _wrap(row: list[Line], line: Line) -> None:
    for cell in row:
        if cell.left < line.right and line.left < cell.right:
            cell.words.extend(line.words)
            return


def _columns(rows: Sequence[Sequence[Line]]) -> list[tuple[float, float]]:
    """Ranges that cells of several rows share; overlapping cells stand in one column."""
    spans = sorted((cell.left, cell.right) for row in rows for cell in row)
    found: list[tuple[float, float]] = []
    for left, right in spans:
        if found and left < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], right))
        else:
            found.append((left, right))
    return found


def _filled(row: Sequence[Line], columns: Sequence[tuple[float, float]]) -> list[str]:
    texts = [""] * len(columns)
    for cell in row:
        at = next(i for i, (left, right) in enumerate(columns) if left <= cell.left <= right)
        texts[at] = f"{texts[at]} {cell.text}".strip()
    return texts


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
