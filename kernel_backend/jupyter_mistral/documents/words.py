"""Words of a page with their positions, and lines of words. In points from the lower left corner. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# a gap wider than this times the font size separates two cells of a row
CELL_GAP = 0.9
MARK = re.compile(r"[•‣◦▪▫●○■□–—*·\uf0b7-]|\(?(?:\d{1,2}|[a-z])[.)]")


@dataclass(frozen=True)
class Word:
    """A word. size: its font size as drawn. base: its lower edge, which decides its line."""

    text: str
    left: float
    right: float
    base: float
    top: float
    size: float
    is_bold: bool = False


@dataclass
class Line:
    """Words on one baseline, from left to right."""

    words: list[Word] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def left(self) -> float:
        return self.words[0].left

    @property
    def right(self) -> float:
        return max(word.right for word in self.words)

    @property
    def base(self) -> float:
        return self.words[0].base

    @property
    def size(self) -> float:
        """The font size of most characters."""
        count: dict[float, int] = {}
        for word in self.words:
            count[word.size] = count.get(word.size, 0) + len(word.text)
        return max(count, key=lambda size: (count[size], size))

    @property
    def is_bold(self) -> bool:
        return all(word.is_bold for word in self.words)

    @property
    def cells(self) -> list[Line]:
        """The line split at its wide gaps."""
        cells = [Line([self.words[0]])]
        for before, word in zip(self.words, self.words[1:], strict=False):
            # the marker of a list item is also followed by a wide gap
            if MARK.fullmatch(before.text) and before is self.words[0]:
                cells[-1].words.append(word)
            elif word.left - before.right > CELL_GAP * max(before.size, word.size):
                cells.append(Line([word]))
            else:
                cells[-1].words.append(word)
        return cells


@dataclass(frozen=True)
class Figure:
    """The edges of an image on a page."""

    left: float
    right: float
    bottom: float
    top: float


@dataclass
class Sheet:
    """The content of one page, in the order of the file. how: text, ocr or none."""

    number: int
    width: float
    height: float
    lines: list[Line]
    figures: list[Figure] = field(default_factory=list)
    how: str = "text"


def lines_of(words: Iterable[Word]) -> list[Line]:
    """Lines in the order of the words: each word continues the line of the previous word or starts a new one."""
    lines: list[Line] = []
    for word in words:
        last = lines[-1].words[-1] if lines else None
        if last is not None and _continues(last, word):
            lines[-1].words.append(word)
        else:
            lines.append(Line([word]))
    return lines


def _continues(last: Word, word: Word) -> bool:
    size = max(last.size, word.size)
    # superscripts and subscripts stay in their line
    is_level = abs(last.base - word.base) < (0.25 if last.size == word.size else 0.5) * size
    return is_level and word.left > last.right - 0.6 * size


def body_size(sheets: Sequence[Sheet]) -> float:
    """The font size of the body text: that of most characters."""
    count: dict[float, int] = {}
    for sheet in sheets:
        for line in sheet.lines:
            for word in line.words:
                count[word.size] = count.get(word.size, 0) + len(word.text)
    return max(count, key=lambda size: (count[size], -size)) if count else 10.0
