"""Converts lines of pages to Markdown: headings by size, paragraphs, lists, tables, figures. Standard library only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .tables import table_at
from .words import Figure, Line, Sheet, body_size

# a line this many times larger than the body text is a heading; sizes of recognized text are only approximate
LARGER, LARGER_OCR = 1.12, 1.35
# maximum distance of two lines of one paragraph or heading, in font sizes
LEADING, HEADING_LEADING = 1.75, 1.35
MARGIN = 0.09
SAME = 0.92
_BULLET = re.compile(r"[•‣◦▪▫●○■□–—*·\uf0b7-]\s*")
_NUMBER = re.compile(r"\(?(?:\d{1,2}|[a-z])[.)]\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Sizes:
    """The font sizes of a document: body text, and headings from the largest down."""

    body: float
    headings: tuple[float, ...]

    def level(self, line: Line, is_ocr: bool) -> int:
        """The heading level, 1 to 4; 0 for text."""
        if len(line.text) > 200 or not any(c.isalpha() for c in line.text):
            return 0
        if line.size > self.body * (LARGER_OCR if is_ocr else LARGER):
            larger = sum(size > line.size for size in self.headings)
            return min(larger + 1, 4)
        is_bold_line = line.is_bold and line.size >= self.body and len(line.text) < 90
        return (
            min(len(self.headings) + 1, 4) if is_bold_line and not line.text.rstrip().endswith((".", ",", ";")) else 0
        )


def to_markdown(sheets: Sequence[Sheet]) -> list[str]:
    """The Markdown of each sheet. Sizes and repeated headers and footers are determined from all sheets."""
    sizes = _sizes(sheets)
    repeated = _repeated(sheets)
    return [_page(sheet, sizes, repeated) for sheet in sheets]


def _sizes(sheets: Sequence[Sheet]) -> Sizes:
    body = body_size(sheets)
    larger: Counter[float] = Counter()
    for sheet in sheets:
        for line in sheet.lines:
            if line.size > body * (LARGER_OCR if sheet.how == "ocr" else LARGER) and len(line.text) <= 200:
                larger[line.size] += 1
    # similar sizes count as one, the smallest of them
    headings: list[float] = []
    for size in sorted(larger, reverse=True):
        if headings and size > headings[-1] * SAME:
            headings[-1] = size
        else:
            headings.append(size)
    return Sizes(body, tuple(headings[:4]))


def _repeated(sheets: Sequence[Sheet]) -> set[str]:
    """Headers and footers: lines at an edge that most pages share, apart from numbers."""
    counts: Counter[str] = Counter()
    for sheet in sheets:
        counts.update({_mask(line.text) for line in sheet.lines if _is_at_edge(line, sheet)})
    return {text for text, count in counts.items() if count >= 3 and count > len(sheets) / 2}


def _is_at_edge(line: Line, sheet: Sheet) -> bool:
    return not MARGIN * sheet.height < line.base < (1 - MARGIN) * sheet.height


def _mask(text: str) -> str:
    return re.sub(r"\d+", "#", text).strip()


def _page(sheet: Sheet, sizes: Sizes, repeated: set[str]) -> str:
    lines = [line for line in sheet.lines if not (_is_at_edge(line, sheet) and _mask(line.text) in repeated)]
    blocks = _blocks(lines, sizes, sheet.how == "ocr")
    if sheet.how == "text":
        for figure in sorted(sheet.figures, key=lambda figure: -figure.top):
            _insert(blocks, figure)
    return _CONTROL.sub("", "\n\n".join(text for _, text in blocks))


def _insert(blocks: list[tuple[float, str]], figure: Figure) -> None:
    """Insert a placeholder for the figure: before the first block that starts below its middle."""
    middle = (figure.top + figure.bottom) / 2
    at = next((i for i, (base, _) in enumerate(blocks) if base < middle), len(blocks))
    size = f"{figure.right - figure.left:.0f} x {figure.top - figure.bottom:.0f} points"
    blocks.insert(at, (middle, f"*[figure, {size}]*"))


def _blocks(lines: Sequence[Line], sizes: Sizes, is_ocr: bool) -> list[tuple[float, str]]:
    """(base of the first line, Markdown) of each block."""
    blocks: list[tuple[float, str]] = []
    at = 0
    while at < len(lines):
        table = table_at(lines, at)
        if table is not None:
            blocks.append((lines[at].base, table.markdown))
            at += table.count
            continue
        level = sizes.level(lines[at], is_ocr)
        end = at + 1
        while end < len(lines) and table_at(lines, end) is None and _continues(lines, end, level, sizes, is_ocr):
            end += 1
        blocks.append((lines[at].base, _block(lines[at:end], level)))
        at = end
    return blocks


def _continues(lines: Sequence[Line], at: int, level: int, sizes: Sizes, is_ocr: bool) -> bool:
    last, line = lines[at - 1], lines[at]
    gap = last.base - line.base
    if sizes.level(line, is_ocr) != level or not 0 < gap < LEADING * max(last.size, line.size):
        return False
    if level:
        is_aligned = abs(last.left - line.left) < line.size or abs(_middle(last) - _middle(line)) < line.size
        return last.size == line.size and is_aligned and gap < HEADING_LEADING * line.size
    is_item = _BULLET.match(line.text) or _NUMBER.match(line.text)
    is_indented = line.left > last.left + 0.8 * line.size and not _is_item(last)
    overlaps = line.left < last.right and last.left < line.right
    return not is_item and overlaps and not is_indented and abs(last.size - line.size) < 0.2 * last.size


def _middle(line: Line) -> float:
    return (line.left + line.right) / 2


def _is_item(line: Line) -> bool:
    return bool(_BULLET.match(line.text) or _NUMBER.match(line.text))


def _block(lines: Sequence[Line], level: int) -> str:
    text = _joined([line.text for line in lines])
    if level:
        return f"{'#' * level} {text}"
    bullet = _BULLET.match(text)
    if bullet and len(text) > bullet.end():
        return f"- {text[bullet.end() :]}"
    # escape a first character that Markdown would read as a heading, quotation or rule
    return re.sub(r"^([#>+=]|-{3,})", r"\\\1", text)


def _joined(texts: Sequence[str]) -> str:
    """Join lines, and words hyphenated at the end of a line."""
    joined = ""
    for text in texts:
        if joined.endswith("-") and len(joined) > 1 and joined[-2].isalpha() and text[:1].islower():
            joined = joined[:-1] + text
        else:
            joined = f"{joined} {text}" if joined else text
    return joined
