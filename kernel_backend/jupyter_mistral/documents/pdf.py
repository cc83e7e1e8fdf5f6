"""PDF -> sheets of words and figures, and pages as pixels, by PDFium. Runs in the child, its limits set."""

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

# a page with fewer characters than that is no text page if there is a picture on it
FEW = 20
# of the page's area: smaller pictures are rules, logos, bullets
SMALLEST_FIGURE = 0.01
# longest side of a page that is recognized; more makes it slower, not better
SCAN_PIXELS = 2200
_SPACES = {0, 9, 10, 11, 12, 13, 32, 0xA0, 0xFFFE, 0xFFFF}
_UNNAMED = {"(anonymous)", "untitled"}  # what programs put where nobody gave a title
_HYPHEN = 2  # what PDFium writes for a hyphen at the end of a line

# a module that Python would look for in its files at the first title
"".encode("utf-16-le").decode("utf-16-le")


class Pdf:
    """An open document. Raises `Refusal` where it cannot be opened."""

    def __init__(self, data: bytes) -> None:
        try:
            self._document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            # `err_code` came with version 5; PDFium's own number for a missing password
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
        """Words and figures of a page, counted from 1. A page that cannot be loaded is an empty one."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError:
            return Sheet(number, 612.0, 792.0, [], how="none")
        try:
            width, height = page.get_size()
            figures = list(_figures(page))
            words = _upright(list(_words(page)), page.get_rotation())
            is_scan = sum(len(word.text) for word in words) < FEW and bool(figures)
            return Sheet(number, width, height, lines_of(words), figures, "none" if is_scan else "text")
        finally:
            page.close()

    def pixels(self, number: int) -> tuple[Image.Image, float] | None:
        """A page as a grey picture, and its pixels per point; None for one that cannot be drawn."""
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
    for n, found in enumerate(page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3)):
        if n > MAX_OBJECTS_PER_PAGE:
            return
        try:
            left, bottom, right, top = found.get_bounds()
        except pypdfium2.PdfiumError:
            continue
        if (right - left) * (top - bottom) > SMALLEST_FIGURE * width * height:
            yield Figure(left, right, bottom, top)


def _words(page: Any) -> Iterator[tuple[Word, int]]:
    """Words in the order in which they were written, each with the quarter turns that it is drawn at."""
    text = page.get_textpage()
    count = min(raw.FPDFText_CountChars(text), MAX_CHARACTERS_PER_PAGE)
    box, begun = raw.FS_RECTF(), None
    letters: list[str] = []
    edges: list[tuple[float, float, float, float]] = []
    for i in range(count):
        code = raw.FPDFText_GetUnicode(text, i)
        is_space = code in _SPACES
        if not is_space and raw.FPDFText_GetLooseCharBox(text, i, ctypes.byref(box)):
            place = (box.left, box.bottom, box.right, box.top)
            if edges and _is_apart(edges[-1], place):
                yield _word(text, begun, letters, edges)
                letters, edges, begun = [], [], None
            begun = i if begun is None else begun
            letters.append("-" if code == _HYPHEN else _letter(code))
            edges.append(place)
        elif is_space and letters:
            yield _word(text, begun, letters, edges)
            letters, edges, begun = [], [], None
    if letters:
        yield _word(text, begun, letters, edges)
    text.close()


def _letter(code: int) -> str:
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 and code >= 32 else "\ufffd"


def _is_apart(last: tuple[float, float, float, float], place: tuple[float, float, float, float]) -> bool:
    """Whether the two characters are of two words though no space stands between them."""
    size = max(last[3] - last[1], place[3] - place[1], last[2] - last[0], 1.0)
    return max(abs(place[0] - last[2]), abs(place[1] - last[1])) > 2 * size and abs(place[3] - last[1]) > 2 * size


def _word(
    text: Any, first: int | None, letters: list[str], edges: list[tuple[float, float, float, float]]
) -> tuple[Word, int]:
    assert first is not None
    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text, first, ctypes.byref(matrix))
    # size as drawn: the font's, by how far the matrix stretches what is upright
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
    """Words of the direction that most are written in, turned upright; what runs along an edge is left out."""
    if not words:
        return []
    count = [0, 0, 0, 0]
    for word, turns in words:
        count[turns] += len(word.text)
    most = count.index(max(count))
    kept = [word for word, turns in words if turns == most]
    if most == 0:
        return kept
    return [_turned(word, most) for word in kept]


def _turned(word: Word, turns: int) -> Word:
    left, right, bottom, top = word.left, word.right, word.base, word.top
    if turns == 1:
        left, right, bottom, top = bottom, top, -right, -left
    elif turns == 2:
        left, right, bottom, top = -right, -left, -top, -bottom
    else:
        left, right, bottom, top = -top, -bottom, left, right
    return Word(word.text, left, right, bottom, top, word.size, word.is_bold)
