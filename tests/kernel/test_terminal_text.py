"""The manual and the commands in a terminal: columns instead of pipes."""

from __future__ import annotations

from jupyter_mistral.kernel.line.manual import MANUAL
from jupyter_mistral.kernel.line.terminal_text import to_plain


def test_tables_become_columns_and_marks_are_removed() -> None:
    table = "**Title** with `code`\n\n| a | n |\n|---|--:|\n| `x\\|y` | 1 |\n| z | 200 |\n\nend"
    assert to_plain(table) == "Title with code\n\na      n\nx|y    1\nz    200\n\nend"


def test_a_table_without_a_header_has_none() -> None:
    assert to_plain("| | |\n|---|---|\n| state | ready |") == "state  ready"


def test_the_manual_has_no_marks() -> None:
    plain = to_plain(MANUAL)
    assert "`" not in plain
    assert "**" not in plain
    assert "\\|" not in plain
    assert "--context none|cell|above|notebook" in plain
