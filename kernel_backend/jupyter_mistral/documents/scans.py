"""A picture of a page -> its words, by the recognizer of RapidOCR, whose models lie in its package. Runs in the child."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageDraw

from .limits import Refusal
from .words import Line, Word, lines_of

# pieces of text that the recognizer itself is unsure of are noise more often than words
SURE = 0.6
# what a page gets on average if it lies on its side or on its head
UPRIGHT = 0.8


class Recognizer:
    """Loads the models: a second or two. Raises `Refusal` where the package is not installed."""

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError:
            raise Refusal("no_ocr") from None
        logging.disable(logging.CRITICAL)
        # its classifier of lines that stand on their head errs often on lines that do not, and makes noise of them
        self._engine: Any = RapidOCR(params={"Global.use_cls": False, "Global.text_score": SURE})
        # once, so that whatever it loads late is loaded: soon no file can be opened any more
        sample = Image.new("RGB", (320, 96), "white")
        ImageDraw.Draw(sample).text((20, 20), "warm up", fill="black", font_size=40)
        self._read(sample)

    def lines(self, page: Image.Image, scale: float) -> list[Line]:
        """Lines in reading order, in points. A page that gives little is tried turned as well."""
        best = self._read(page)
        for quarter in (Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270):
            if best[0] >= UPRIGHT:
                break
            turned = page.transpose(quarter)
            found = self._read(turned)
            if found[0] > best[0]:
                best, page = found, turned
        words = [
            Word(
                p.text,
                p.left / scale,
                p.right / scale,
                (page.height - p.bottom) / scale,
                (page.height - p.top) / scale,
                p.size / scale,
            )
            for p in best[1]
        ]
        return lines_of(_in_columns([_stepped(word) for word in words], page.width / scale))

    def _read(self, page: Image.Image) -> tuple[float, list[_Piece]]:
        """How sure it is on average, over characters, and what it read, in pixels from the upper left."""
        import numpy

        found = self._engine(numpy.asarray(page)[:, :, ::-1])
        if not found.txts:
            return 0.0, []
        pieces = [_piece(text, box.tolist()) for text, box in zip(found.txts, found.boxes, strict=True)]
        count = sum(map(len, found.txts)) or 1
        return sum(s * len(t) for s, t in zip(found.scores, found.txts, strict=True)) / count, pieces


@dataclass(frozen=True)
class _Piece:
    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float


def _piece(text: str, box: Sequence[tuple[float, float]]) -> _Piece:
    """box: corners, clockwise from the upper left of the writing; on a page that lies askew they make no upright rectangle."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = box
    height = (math.dist((x0, y0), (x3, y3)) + math.dist((x1, y1), (x2, y2))) / 2
    middle = (y0 + y1 + y2 + y3) / 4
    # as high as the writing is, around its middle, so that lines that lean do not overlap
    return _Piece(text, min(x0, x3), max(x1, x2), middle - height / 2, middle + height / 2, height)


def _stepped(word: Word) -> Word:
    """The font's size by the height of its box, in steps, so that the box's own error does not make many sizes of one."""
    return replace(word, size=max(2.0, float(round(word.size * 0.75))))


def _in_columns(words: list[Word], width: float) -> list[Word]:
    """Top to bottom; the left column first where nearly everything stands in one of two columns."""
    rows = _by_rows(words)
    middle = [word for word in words if word.left < width * 0.48 and word.right > width * 0.52]
    left = [word for word in rows if word.right <= width * 0.52]
    right = [word for word in rows if word.left >= width * 0.48]
    wide = [word for word in words if word.right - word.left > width * 0.25]
    if len(left) < 5 or len(right) < 5 or len(middle) > 0.2 * len(words) or len(wide) < 0.5 * len(words):
        return rows
    head = [word for word in rows if word in middle]
    return [*head, *left, *right]


def _by_rows(words: list[Word]) -> list[Word]:
    """Rows from the top, each from the left; words of one row differ a little in height."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: -(word.base + word.top)):
        middle = (word.base + word.top) / 2
        if rows and rows[-1][0].base < middle < rows[-1][0].top:
            rows[-1].append(word)
        else:
            rows.append([word])
    return [_level(word, row[0].base) for row in rows for word in sorted(row, key=lambda word: word.left)]


def _level(word: Word, base: float) -> Word:
    return Word(word.text, word.left, word.right, base, base + word.top - word.base, word.size)
