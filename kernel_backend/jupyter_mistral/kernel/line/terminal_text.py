"""Our own Markdown as text for a terminal: tables in columns, marks taken off. For the manual and the commands, never for answers."""

from __future__ import annotations

import re

_CELLS = re.compile(r"(?<!\\)\|")
_MARKS = re.compile(r"\*\*(.+?)\*\*|`([^`]+)`")


def to_plain(markdown: str) -> str:
    """`markdown` with its tables aligned and without bold and code marks."""
    lines: list[str] = []
    table: list[str] = []
    for line in [*markdown.strip().splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        lines += _columns(table)
        table = []
        lines.append(_bare(line))
    return "\n".join(lines).rstrip()


def _columns(table: list[str]) -> list[str]:
    rows = [[_bare(cell.strip()) for cell in _CELLS.split(line.strip()[1:-1])] for line in table]
    if not rows:
        return []
    to_right = [cell.endswith(":") for cell in rows[1]]
    body = [row for i, row in enumerate(rows) if i != 1 and any(row)]
    widths = [max(len(row[i]) for row in body) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in body
    ]


def _bare(text: str) -> str:
    return _MARKS.sub(lambda m: m[1] or m[2], text).replace("\\|", "|")
