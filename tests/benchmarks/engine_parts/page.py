"""Formats the figures as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def page(found: Mapping[str, Any], about: Mapping[str, str]) -> str:
    """found: `sections` by name, `goals`, `machine`, and a `note` if the figures do not show speed."""
    lines = [f"machine: {found['machine']}"]
    lines += [found["note"]] if found["note"] else []
    for name, section in found["sections"].items():
        lines += ["", f"{name}: {about[name]} ({section['seconds']} s)"]
        lines += _table(section["figures"])
        lines += [f"  ended early: {section['reason']}"] if "reason" in section else []
    if found["goals"]:
        lines += ["", "goals"]
    for goal in found["goals"]:
        word = {None: "not measured", True: "met", False: "missed"}[goal["met"]]
        measured = "" if goal["measured"] is None else f", measured {goal['measured']}"
        lines.append(f"  {word:12}  {goal['goal']}: at least {goal['at least']}{measured}")
    return "\n".join(lines)


def _table(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    lines = [[name, *(str(row.get(column, "")) for column in columns)] for name, row in figures.items()]
    lines = [["", *columns], *lines] if lines else []
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return ["  ".join(["", line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
