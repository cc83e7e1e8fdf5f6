"""Reads the words and figures of PDF pages, and renders pages, with PDFium. Runs in the child, under its limits."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any

import pypdfium2
import pypdfium2.raw as raw
from PIL import Image

from .limits import MAX_CHARACTERS_PER_PAGE, MAX_OBJECTS_PER_PAGE, Refusal
from .words import Figure, Sheet, Word, lines_of

# a page with fewer characters and an image is a scan
SCAN_CHARACTERS = 20
# share of the page's area: smaller images are rules, logos or bullets
SMALLEST_FIGURE = 0.01
# longest side of a page for recognition; more is slower, not better
SCAN_PIXELS = 2200
_SPACES = {0, 9, 10, 11, 12, 13, 32, 0xA0, 0xFFFE, 0xFFFF}
_UNNAMED = {"(anonymous)", "untitled"}  # titles that programs write by default
_HYPHEN = 2  # how PDFium encodes a hyphen at the end of a line

# loads the codec that titles need, before files are forbidden
"".encode("utf-16-le").decode("utf-16-le")


class Pdf:
    """An open document. Raises `Refusal` if it cannot be opened."""

    def __init__(self, data: bytes) -> None:
        try:
            self._document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            # `err_code` exists since version 5
            is_locked = getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD or "password" in str(error).lower()
            raise Refusal("encrypted" if is_locked else "broken_document") from None
        self.count = len(self._document)
        if self.count < 1:
            raise Refusal("no_pages")

    @property
    def title(self) -> str:
        try:
            title = " ".join(str(self._document.get_metadata_dict().get("Title", "")).split())[:300]
            return "" if title.lower() in _UNNAMED else title
        except (pypdfium2.PdfiumError, ValueError):
            return ""

    def sheet(self, number: int) -> Sheet:
        """The words and figures of a page, counted from 1. A page that cannot be loaded is empty."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError:
            return Sheet(number, 612.0, 792.0, [], how="none")
        try:
            width, height = page.get_size()
            figures = list(_figures(page))
            words = _upright(list(_words(page)), page.get_rotation())
            is_scan = sum(len(word.text) for word in words) < SCAN_CHARACTERS and bool(figures)
            return Sheet(number, width, height, lines_of(words), figures, "none" if is_scan else "text")
        finally:
            page.close()

    def pixels(self, number: int) -> tuple[Image.Image, float] | None:
        """A page as a grey image, and its pixels per point; None if it cannot be rendered."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError:
            return None
        try:
            longest = max(page.get_size())
            if not 1 <= longest < 1e6:
                return None
            scale = min(SCAN_PIXELS / longest, 8.0)
            return page.render(scale=scale, grayscale=True).to_pil().convert("RGB"), scale
        except (pypdfium2.PdfiumError, ValueError, ctypes.ArgumentError):
            return None
        finally:
            page.close()


def _figures(page: Any) -> Iterator[Figure]:
    width, height = page.get_size()
    for n, image in enumerate(page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3)):
        if n > MAX_OBJECTS_PER_PAGE:
            return
        try:
            left, bottom, right, top = image.get_bounds()
        except pypdfium2.PdfiumError:
            continue
        if (right - left) * (top - bottom) > SMALLEST_FIGURE * width * height:
            yield Figure(left, right, bottom, top)


def _words(page: Any) -> Iterator[tuple[Word, int]]:
    """Words in the order of the file, each with the quarter turns at which it is drawn."""
    text = page.get_textpage()
    count = min(raw.FPDFText_CountChars(text), MAX_CHARACTERS_PER_PAGE)
    box, first = raw.FS_RECTF(), None
    letters: list[str] = []
    edges: list[tuple[float, float, float, float]] = []
    for i in range(count):
        code = raw.FPDFText_GetUnicode(text, i)
        is_space = code in _SPACES
        if not is_space and raw.FPDFText_GetLooseCharBox(text, i, ctypes.byref(box)):
            edge = (box.left, box.bottom, box.right, box.top)
            if edges and _is_apart(edges[-1], edge):
                yield _word(text, first, letters, edges)
                letters, edges, first = [], [], None
            first = i if first is None else first
            letters.append("-" if code == _HYPHEN else _letter(code))
            edges.append(edge)
        elif is_space and letters:
            yield _word(text, first, letters, edges)
            letters, edges, first = [], [], None
    if letters:
        yield _word(text, first, letters, edges)
    text.close()


def _letter(code: int) -> str:
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 and code >= 32 else "\ufffd"


def _is_apart(last: tuple[float, float, float, float], edge: tuple[float, float, float, float]) -> bool:
    """Whether two characters without a space between them belong to different words."""
    size = max(last[3] - last[1], edge[3] - edge[1], last[2] - last[0], 1.0)
    return max(abs(edge[0] - last[2]), abs(edge[1] - last[1])) > 2 * size and abs(edge[3] - last[1]) > 2 * size


def _word(
    text: Any, first: int | None, letters: list[str], edges: list[tuple[float, float, float, float]]
) -> tuple[Word, int]:
    assert first is not None
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text, first, ctypes.byref(matrix))
    # the size as drawn: the font's size times the vertical stretch of the matrix
    stretch = math.hypot(matrix.c, matrix.d) or 1.0
    size = round(raw.FPDFText_GetFontSize(text, first) * stretch * 2) / 2
    turns = round(math.atan2(matrix.b, matrix.a) / (math.pi / 2)) % 4
    left, bottom = min(e[0] for e in edges), min(e[1] for e in edges)
    right, top = max(e[2] for e in edges), max(e[3] for e in edges)
    if not 0.5 <= size < 1000:
        size = round((top - bottom) * 1.6) / 2 or 1.0
    is_bold = raw.FPDFText_GetFontWeight(text, first) >= 600
    return Word("".join(letters), left, right, bottom, top, size, is_bold), turns


def _upright(words: list[tuple[Word, int]], rotation: int) -> list[Word]:
    """The words in the most common direction, turned upright. Drops text along an edge."""
    if not words:
        return []
    count = [0, 0, 0, 0]
    for word, turns in words:
        count[turns] += len(word.text)
    direction = count.index(max(count))
    kept = [word for word, turns in words if turns == direction]
    if direction == 0:
        return kept
    return [_turned(word, direction) for word in kept]


def _turned(word: Word, turns: int) -> Word:
    left, right, bottom, top = word.left, word.right, word.base, word.top
    if turns == 1:
        left, right, bottom, top = bottom, top, -right, -left
    elif turns == 2:
        left, right, bottom, top = -right, -left, -top, -bottom
    else:
        left, right, bottom, top = -top, -bottom, left, right
    return Word(word.text, left, right, bottom, top, word.size, word.is_bold)
