"""Converts our own Markdown to terminal text: tables in columns, no bold or code marks. Not for the model's answers."""

from __future__ import annotations

import re

_CELLS = re.compile(r"(?<!\\)\|")
_MARKS = re.compile(r"\*\*(.+?)\*\*|`([^`]+)`")


def to_plain(markdown: str) -> str:
    """Convert `markdown`: align its tables, and remove bold and code marks."""
    lines: list[str] = []
    table: list[str] = []
    for line in [*markdown.strip().splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        lines += _align(table)
        table = []
        lines.append(_strip_marks(line))
    return "\n".join(lines).rstrip()


def _align(table: list[str]) -> list[str]:
    rows = [[_strip_marks(cell.strip()) for cell in _CELLS.split(line.strip()[1:-1])] for line in table]
    if not rows:
        return []
    is_right = [cell.endswith(":") for cell in rows[1]]
    body = [row for i, row in enumerate(rows) if i != 1 and any(row)]
    widths = [max(len(row[i]) for row in body) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ).rstrip()
        for row in body
    ]


def _strip_marks(text: str) -> str:
    return _MARKS.sub(lambda m: m[1] or m[2], text).replace("\\|", "|")
