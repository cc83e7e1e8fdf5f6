"""Recognizes tables in lines of text and writes them as Markdown. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .words import Line

# maximum distance of two rows of a table, in font sizes
ROW_GAP = 3.5
# longer cells are body text in two columns, not a table
LONGEST_CELL = 45


@dataclass(frozen=True)
class Table:
    """A table. count: the number of lines it takes."""

    markdown: str
    count: int


def table_at(lines: Sequence[Line], start: int) -> Table | None:
    """The table that starts at line `start`; None if there is none."""
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
    """Whether a lone cell is the second line of the cell above: it is inside a column, and the table continues below."""
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
    """Horizontal ranges of the columns: overlapping cells are in one column."""
    spans = sorted((cell.left, cell.right) for row in rows for cell in row)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    return columns


def _filled(row: Sequence[Line], columns: Sequence[tuple[float, float]]) -> list[str]:
    texts = [""] * len(columns)
    for cell in row:
        at = next(i for i, (left, right) in enumerate(columns) if left <= cell.left <= right)
        texts[at] = f"{texts[at]} {cell.text}".strip()
    return texts


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
