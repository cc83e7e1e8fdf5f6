"""Converts the pages of a PDF to Markdown, with progress. Runs in the child, under its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .layout import to_markdown
from .limits import MAX_PAGES, Refusal
from .words import Sheet

if TYPE_CHECKING:
    from .ocr import Recognizer
    from .pdf import Pdf


def read_pdf(
    data: bytes, spans: Sequence[Sequence[int]], is_ocr: bool, before: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """Frames: one `page_read` a page, then each `page`, then `document`. Raises `Refusal`.

    spans: first and last page of each range; empty for all pages. is_ocr: recognize every page's pixels instead of reading its
    text. before: called once all modules are loaded, before the file is parsed.
    """
    open_pdf, recognizer = _load_modules(is_ocr)
    before()
    document = open_pdf(data)
    numbers = _numbers(spans, document.count)
    sheets: list[Sheet] = []
    for number in numbers:
        sheet = document.sheet(number)
        if recognizer is not None:
            drawn = document.pixels(number)
            sheet.lines = recognizer.lines(*drawn) if drawn is not None else []
            sheet.how = "ocr" if sheet.lines else "none"
        sheets.append(sheet)
        yield {"type": "page_read", "done": len(sheets), "total": len(numbers), "how": sheet.how}
    for sheet, markdown in zip(sheets, to_markdown(sheets), strict=True):
        yield {"type": "page", "number": sheet.number, "markdown": markdown, "how": sheet.how}
    yield {"type": "document", "title": document.title, "page_count": document.count}


def _load_modules(is_ocr: bool) -> tuple[type[Pdf], Recognizer | None]:
    try:
        from .pdf import Pdf
    except ImportError:
        raise Refusal("no_pdf") from None
    if not is_ocr:
        return Pdf, None
    from .ocr import Recognizer

    return Pdf, Recognizer()


def _numbers(spans: Sequence[Sequence[int]], count: int) -> list[int]:
    if not spans:
        numbers = list(range(1, min(count, MAX_PAGES + 1) + 1))
    else:
        if any(not 1 <= first <= last <= count for first, last in spans):
            raise Refusal("no_such_page", count)
        numbers = sorted({n for first, last in spans for n in range(first, min(last, first + MAX_PAGES) + 1)})
    if len(numbers) > MAX_PAGES:
        raise Refusal("too_many_pages", count)
    return numbers
