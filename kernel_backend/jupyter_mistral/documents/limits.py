"""What a picture or a document may cost, and the sentences for what is refused. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.documents import MAX_DOCUMENT_BYTES
from ..protocol.failures import Failure
from ..protocol.images import MAX_IMAGE_BYTES

MAX_PIXELS, MAX_SIDE = 24_000_000, 16_384
# no vision model here takes more; eight of this size fit into one frame to the worker
LONGEST = 2048
MAX_PAGES = 200
MAX_OBJECTS_PER_PAGE = 20_000
MAX_CHARACTERS_PER_PAGE = 60_000

_MB = 2**20


@dataclass(frozen=True)
class Limits:
    """memory: bytes of address space. cpu_s: seconds of processor time. silence_s: seconds between two signs of life."""

    memory: int
    cpu_s: int
    silence_s: float


PICTURE = Limits(600 * _MB, 5, 30.0)
DOCUMENT = Limits(1000 * _MB, 60, 70.0)
# the recognizer's own address space is 1.9 GB for an A4 page; about 10 s of processor time a page
SCAN = Limits(4000 * _MB, 60 * MAX_PAGES, 180.0)

_AGAIN = "Save it again and resend it."
_SMALLER = "Make it smaller, then try again."

# reason: (code of the failure, sentence, what to do). The child tells the reason alone, so that no word of a file gets out.
REFUSALS: dict[str, tuple[str, str, str]] = {
    "not_a_picture": ("bad_request", "{what} is no PNG, JPEG, WebP, GIF or SVG picture.", "Save it as one of these."),
    "broken_picture": ("bad_request", "{what} is damaged and cannot be decoded.", _AGAIN),
    "no_pixels": ("bad_request", "{what} has no pixels.", _AGAIN),
    "too_many_bytes": ("too_large", f"{{what}} holds more than {MAX_IMAGE_BYTES >> 20} MB.", _SMALLER),
    "too_many_pixels": (
        "too_large",
        f"{{what}} has more than {MAX_PIXELS // 10**6} megapixels or {MAX_SIDE:,} pixels a side.",
        _SMALLER,
    ),
    "exhausted": ("too_large", "{what} takes more memory or time to decode than it is given.", _SMALLER),
    "no_svg": (
        "unsupported",
        "{what} is an SVG drawing, and what draws those is not installed.",
        "pip install 'jupyter-mistral[documents]' where the model host runs.",
    ),
    "no_pillow": (
        "unsupported",
        "{what} cannot be decoded: Pillow is not installed.",
        "pip install 'jupyter-mistral[documents]' where the model host runs.",
    ),
    "not_a_document": ("bad_request", "{what} is no PDF.", "Save it as a PDF."),
    "broken_document": (
        "bad_request",
        "{what} is damaged and cannot be read.",
        "Print it to a new PDF, then try again.",
    ),
    "encrypted": ("bad_request", "{what} is encrypted.", "Save it without a password, then read it again."),
    "no_pages": ("bad_request", "{what} has no pages.", "Save it again."),
    "too_many_pages": (
        "too_large",
        f"{{what}} has {{n:,}} pages; up to {MAX_PAGES} are read at once.",
        f"Name those you need, such as --pages 1-{MAX_PAGES}.",
    ),
    "no_such_page": ("bad_request", "{what} has fewer pages than you name: {n:,}.", "Name pages that are there."),
    "too_large_document": ("too_large", f"{{what}} holds more than {MAX_DOCUMENT_BYTES >> 20} MB.", "Split it first."),
    "too_long": ("too_large", "{what} takes more memory or time to read than it is given.", "Name fewer --pages."),
    "no_pdf": (
        "unsupported",
        "{what} cannot be read: the PDF reader is not installed.",
        "pip install 'jupyter-mistral[documents]' where the model host runs.",
    ),
    "no_ocr": (
        "unsupported",
        "{what} has scanned pages without text, and what recognizes text is not installed.",
        "pip install 'jupyter-mistral[documents]' where the model host runs, or take --ocr off.",
    ),
}


class Refusal(Exception):
    """Why the child does not go on: a reason of `REFUSALS`, and the number that its sentence may hold."""

    def __init__(self, reason: str, n: int = 0) -> None:
        assert reason in REFUSALS, reason
        super().__init__(reason)
        self.reason, self.n = reason, n


def failure(what: str, reason: str, n: int = 0) -> Failure:
    """The sentence for a refusal of `what`, as in "Picture 2"."""
    code, sentence, todo = REFUSALS[reason]
    return Failure(code, sentence.format(what=what, n=n), todo)
