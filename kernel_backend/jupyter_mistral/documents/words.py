"""Words of a page with their places, and lines of them. Points from the lower left corner. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# a gap that is wider than so many of the font's sizes parts two cells of a row
CELL_GAP = 0.9
MARK = re.compile(r"[•‣◦▪▫●○■□–—*·\uf0b7-]|\(?(?:\d{1,2}|[a-z])[.)]")


@dataclass(frozen=True)
class Word:
    """size: of its font, as it is drawn. base: where it stands, for telling its line."""

    text: str
    left: float
    right: float
    base: float
    top: float
    size: float
    is_bold: bool = False


@dataclass
class Line:
    """Words on one base, left to right, as one hand wrote them."""

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
        """The size that most of its characters have."""
        count: dict[float, int] = {}
        for word in self.words:
            count[word.size] = count.get(word.size, 0) + len(word.text)
        return max(count, key=lambda size: (count[size], size))

    @property
    def is_bold(self) -> bool:
        return all(word.is_bold for word in self.words)

    @property
    def cells(self) -> list[Line]:
        """The line cut at its wide gaps."""
        found = [Line([self.words[0]])]
        for before, word in zip(self.words, self.words[1:], strict=False):
            # what marks an item of a list stands well apart from it too
            if MARK.fullmatch(before.text) and before is self.words[0]:
                found[-1].words.append(word)
            elif word.left - before.right > CELL_GAP * max(before.size, word.size):
                found.append(Line([word]))
            else:
                found[-1].words.append(word)
        return found


@dataclass(frozen=True)
class Figure:
    """A picture on a page, by its edges."""

    left: float
    right: float
    bottom: float
    top: float


@dataclass
class Sheet:
    """What stands on one page, in the order in which it was written. how: text, ocr or none."""

    number: int
    width: float
    height: float
    lines: list[Line]
    figures: list[Figure] = field(default_factory=list)
    how: str = "text"


def lines_of(words: Iterable[Word]) -> list[Line]:
    """Lines, in the order of the words: a word goes on with the line that the word before it stands in, or begins one."""
    lines: list[Line] = []
    for word in words:
        last = lines[-1].words[-1] if lines else None
        if last is not None and _goes_on(last, word):
            lines[-1].words.append(word)
        else:
            lines.append(Line([word]))
    return lines


def _goes_on(last: Word, word: Word) -> bool:
    size = max(last.size, word.size)
    # raised and lowered signs stay in their line
    is_level = abs(last.base - word.base) < (0.25 if last.size == word.size else 0.5) * size
    return is_level and word.left > last.right - 0.6 * size


def body_size(sheets: Sequence[Sheet]) -> float:
    """The size of the running text: what most characters have."""
    count: dict[float, int] = {}
    for sheet in sheets:
        for line in sheet.lines:
            for word in line.words:
                count[word.size] = count.get(word.size, 0) + len(word.text)
    return max(count, key=lambda size: (count[size], -size)) if count else 10.0
