"""Limits for images and documents, and the sentences for refused ones. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.documents import MAX_DOCUMENT_BYTES
from ..protocol.failures import Failure
from ..protocol.images import MAX_IMAGE_BYTES

MAX_PIXELS, MAX_SIDE = 24_000_000, 16_384
# pixels a side: no vision model here uses more, and eight of this size fit into one frame to the worker
LONGEST = 2048
MAX_PAGES = 200
MAX_OBJECTS_PER_PAGE = 20_000
MAX_CHARACTERS_PER_PAGE = 60_000

_MB = 2**20


@dataclass(frozen=True)
class Limits:
    """memory: bytes of address space. cpu_s: seconds of CPU time. silence_s: maximum seconds without output."""

    memory: int
    cpu_s: int
    silence_s: float


IMAGE = Limits(600 * _MB, 5, 30.0)
DOCUMENT = Limits(1000 * _MB, 60, 70.0)
# the recognizer needs 1.9 GB of address space for an A4 page, and about 10 s of CPU time a page
SCAN = Limits(4000 * _MB, 60 * MAX_PAGES, 180.0)

_AGAIN = "Save it again and resend it."
_SMALLER = "Make it smaller, then try again."
_INSTALL = "Run `pip install 'jupyter-mistral[documents]'` in the environment of the Jupyter server"

# reason: (failure code, sentence, what to do). The child sends only the reason, so that no text of a file gets out.
REFUSALS: dict[str, tuple[str, str, str]] = {
    "not_an_image": ("bad_request", "{what} is not a PNG, JPEG, WebP, GIF or SVG image.", "Save it as one of these."),
    "broken_image": ("bad_request", "{what} is damaged and cannot be decoded.", _AGAIN),
    "no_pixels": ("bad_request", "{what} has no pixels.", _AGAIN),
    "too_many_bytes": ("too_large", f"{{what}} is larger than {MAX_IMAGE_BYTES >> 20} MB.", _SMALLER),
    "too_many_pixels": (
        "too_large",
        f"{{what}} has more than {MAX_PIXELS // 10**6} megapixels or a side of more than {MAX_SIDE:,} pixels.",
        _SMALLER,
    ),
    "exhausted": ("too_large", "{what} takes too much memory or time to decode.", _SMALLER),
    "no_svg": ("unsupported", "{what} is an SVG image, and the SVG renderer is not installed.", f"{_INSTALL}."),
    "no_pillow": ("unsupported", "{what} cannot be decoded, because Pillow is not installed.", f"{_INSTALL}."),
    "not_a_document": ("bad_request", "{what} is not a PDF.", "Save it as a PDF."),
    "broken_document": (
        "bad_request",
        "{what} is damaged and cannot be read.",
        "Print it to a new PDF, then try again.",
    ),
    "encrypted": ("bad_request", "{what} is encrypted.", "Save it without a password, then read it again."),
    "no_pages": ("bad_request", "{what} has no pages.", "Save it again."),
    "too_many_pages": (
        "too_large",
        f"{{what}} has {{n:,}} pages; at most {MAX_PAGES} can be read at once.",
        f"Choose pages, such as --pages 1-{MAX_PAGES}.",
    ),
    "no_such_page": ("bad_request", "{what} ends at page {n:,}.", "Choose other pages."),
    "too_large_document": ("too_large", f"{{what}} is larger than {MAX_DOCUMENT_BYTES >> 20} MB.", "Split it first."),
    "too_long": ("too_large", "{what} takes too much memory or time to read.", "Choose fewer pages with --pages."),
    "no_pdf": ("unsupported", "{what} cannot be read, because the PDF reader is not installed.", f"{_INSTALL}."),
    "no_ocr": (
        "unsupported",
        "{what} has scanned pages, and text recognition is not installed.",
        f"{_INSTALL}, or use --ocr off.",
    ),
}


class Refusal(Exception):
    """Why the child stops: a key of `REFUSALS`, and the number in its sentence."""

    def __init__(self, reason: str, n: int = 0) -> None:
        assert reason in REFUSALS, reason
        super().__init__(reason)
        self.reason, self.n = reason, n


def failure(what: str, reason: str, n: int = 0) -> Failure:
    """The failure for a refusal. what: the subject of its sentence, such as "Image 2"."""
    code, sentence, todo = REFUSALS[reason]
    return Failure(code, sentence.format(what=what, n=n), todo)
