"""Recognizes the words of a page image with RapidOCR, whose package includes its models. Runs in the child."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageDraw

from .limits import Refusal
from .words import Line, Word, lines_of

# results below this confidence are noise more often than words
MIN_CONFIDENCE = 0.6
# pages with a lower average confidence may be rotated
UPRIGHT = 0.8


class Recognizer:
    """Loads the models in a second or two. Raises `Refusal` if the package is not installed."""

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError:
            raise Refusal("no_ocr") from None
        logging.disable(logging.CRITICAL)
        # its classifier of upside-down lines often turns upright lines and makes noise of them
        self._engine: Any = RapidOCR(params={"Global.use_cls": False, "Global.text_score": MIN_CONFIDENCE})
        # a first run loads everything that is loaded late, before files are forbidden
        sample = Image.new("RGB", (320, 96), "white")
        ImageDraw.Draw(sample).text((20, 20), "warm up", fill="black", font_size=40)
        self._read(sample)

    def lines(self, page: Image.Image, scale: float) -> list[Line]:
        """Lines in reading order, in points. Tries rotations of a page with low confidence."""
        best = self._read(page)
        for quarter in (Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270):
            if best[0] >= UPRIGHT:
                break
            turned = page.transpose(quarter)
            result = self._read(turned)
            if result[0] > best[0]:
                best, page = result, turned
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
        """The average confidence per character, and the text found, in pixels from the upper left."""
        import numpy

        result = self._engine(numpy.asarray(page)[:, :, ::-1])
        if not result.txts:
            return 0.0, []
        pieces = [_piece(text, box.tolist()) for text, box in zip(result.txts, result.boxes, strict=True)]
        count = sum(map(len, result.txts)) or 1
        return sum(s * len(t) for s, t in zip(result.scores, result.txts, strict=True)) / count, pieces


@dataclass(frozen=True)
class _Piece:
    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float


def _piece(text: str, box: Sequence[tuple[float, float]]) -> _Piece:
    """box: corners, clockwise from the upper left of the text; on a skewed page not an upright rectangle."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = box
    height = (math.dist((x0, y0), (x3, y3)) + math.dist((x1, y1), (x2, y2))) / 2
    middle = (y0 + y1 + y2 + y3) / 4
    # the height of the text around its middle, so that skewed lines do not overlap
    return _Piece(text, min(x0, x3), max(x1, x2), middle - height / 2, middle + height / 2, height)


def _stepped(word: Word) -> Word:
    """The word with its font size estimated from its box, rounded, so that inexact boxes do not make many sizes of one."""
    return replace(word, size=max(2.0, float(round(word.size * 0.75))))


def _in_columns(words: list[Word], width: float) -> list[Word]:
    """Words from top to bottom; the left column first if nearly all are in one of two columns."""
    rows = _by_rows(words)
    across = [word for word in words if word.left < width * 0.48 and word.right > width * 0.52]
    left = [word for word in rows if word.right <= width * 0.52]
    right = [word for word in rows if word.left >= width * 0.48]
    wide = [word for word in words if word.right - word.left > width * 0.25]
    if len(left) < 5 or len(right) < 5 or len(across) > 0.2 * len(words) or len(wide) < 0.5 * len(words):
        return rows
    across_rows = [word for word in rows if word in across]
    return [*across_rows, *left, *right]


def _by_rows(words: list[Word]) -> list[Word]:
    """Words by rows, from the left. Words of one row may differ a little in height."""
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
