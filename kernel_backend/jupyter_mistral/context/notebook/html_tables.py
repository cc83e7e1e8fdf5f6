"""Converts HTML tables to rows of text."""

from __future__ import annotations

from html.parser import HTMLParser

MAX_ROWS = 400


class _Rows(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.after: list[str] = []
        self._cell: list[str] | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("style", "script"):
            self._hidden += 1
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._hidden = max(0, self._hidden - 1)
        elif tag in ("td", "th") and self._cell is not None:
            if not self.rows:
                self.rows.append([])
            self.rows[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._hidden or len(self.rows) > MAX_ROWS:
            return
        if self._cell is not None:
            self._cell.append(data)
        elif data.strip():
            self.after.append(" ".join(data.split()))


def of_html(html: str) -> str:
    """The tables of an HTML text as lines of cells, then the text around them, such as a shape or a caption.

    Cells are separated by bars if spaces would be ambiguous.
    """
    parser = _Rows()
    parser.feed(html)
    parser.close()
    rows = [row for row in parser.rows[:MAX_ROWS] if any(row)]
    bar = " | " if any(" " in cell or not cell for row in rows[1:] for cell in row) else "  "
    lines = [bar.join(row).strip() for row in rows]
    return "\n".join([*lines, *parser.after[:20]])
