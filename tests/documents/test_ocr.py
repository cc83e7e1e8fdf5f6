"""Scanned pages are recognized; the accuracy is measured on pages made here."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Callable

import hostile_pdfs as pdfs
import pypdfium2
import pytest
from effort import first
from jupyter_mistral.protocol.documents import Document, PageRead
from jupyter_mistral.protocol.failures import Failure
from PIL import Image, ImageFilter

Read = Callable[..., tuple[list[PageRead], Document | Failure]]
WORDS = [
    "account",
    "analysis",
    "average",
    "balance",
    "between",
    "carbon",
    "cluster",
    "coefficient",
    "column",
    "condition",
    "correlation",
    "density",
    "difference",
    "distribution",
    "energy",
    "equation",
    "estimate",
    "experiment",
    "factor",
    "frequency",
    "gradient",
    "growth",
    "interval",
    "kernel",
    "latency",
    "linear",
    "matrix",
    "measure",
    "median",
    "method",
    "neuron",
    "notebook",
    "observed",
    "outlier",
    "parameter",
    "percent",
    "phase",
    "pressure",
    "protein",
    "quantity",
    "quarter",
    "random",
    "ratio",
    "regression",
    "sample",
    "sequence",
    "signal",
    "significant",
    "standard",
    "temperature",
    "tensor",
    "threshold",
    "total",
    "variance",
    "vector",
    "velocity",
]


def text_of(seed: int) -> str:
    """Random words, numbers and punctuation as in a report."""
    dice = random.Random(seed)
    words = [dice.choice(WORDS) for _ in range(150)] + [f"{dice.uniform(0, 5000):,.2f}" for _ in range(20)]
    dice.shuffle(words)
    return " ".join(word + (dice.choice(".,") if n % 11 == 10 else "") for n, word in enumerate(words))


def drawn(text: str, scale: float, turn: float = 0.0, blur: float = 0.0) -> Image.Image:
    """The text as a page image, rotated and blurred as by a copier."""
    from io import BytesIO

    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate

    out = BytesIO()
    style = getSampleStyleSheet()
    SimpleDocTemplate(out).build(
        [Paragraph("Quarterly measurements", style["Title"]), Paragraph(text, style["BodyText"])]
    )
    page = pypdfium2.PdfDocument(out.getvalue())[0].render(scale=scale).to_pil().convert("L")
    page = page.rotate(turn, Image.Resampling.BICUBIC, fillcolor=255)
    return page.filter(ImageFilter.GaussianBlur(blur)) if blur else page


def accuracy(text: str, read: str) -> float:
    """The share of the words of `text` that are in `read`, in order."""
    wanted, got = text.split(), re.sub(r"[#*]", " ", read).split()
    matches = difflib.SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    return sum(match.size for match in matches) / len(wanted)


# kind of scan: scale, rotation in degrees, blur
KINDS = {"sharp": (2.5, 0.0, 0.0), "small": (1.5, 0.0, 0.0), "askew and blurred": (2.0, 0.7, 0.8)}


@pytest.mark.parametrize(
    "kinds", first(1, [["small"], ["sharp", "small", "askew and blurred"]]), ids=lambda kinds: ", ".join(kinds)
)
def test_words_of_scanned_pages_are_recognized(
    read: Read, capsys: pytest.CaptureFixture[str], kinds: list[str]
) -> None:
    import io

    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    texts = [text_of(seed) for seed in range(len(kinds))]
    out = io.BytesIO()
    made = canvas.Canvas(out, pagesize=(595, 842))
    for text, kind in zip(texts, kinds, strict=True):
        made.drawImage(ImageReader(drawn(text, *KINDS[kind])), 0, 0, 595, 842)
        made.showPage()
    made.save()
    progress, document = read(out.getvalue(), ocr="auto")
    assert isinstance(document, Document), document
    count = len(kinds)
    assert [page.how for page in document.pages] == ["ocr"] * count
    assert [(step.done, step.total, step.how) for step in progress] == [(n + 1, count, "ocr") for n in range(count)]
    shares = {
        kind: accuracy(f"Quarterly measurements {text}", page.markdown)
        for kind, text, page in zip(kinds, texts, document.pages, strict=True)
    }
    with capsys.disabled():
        print("\nOCR word accuracy: " + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items()))
    assert document.pages[0].markdown.startswith("# Quarterly measurements")
    assert min(shares.values()) > 0.93


def test_text_is_read_directly_and_only_the_scan_is_recognized(read: Read) -> None:
    from io import BytesIO

    mixed = pypdfium2.PdfDocument(pdfs.pages(2))
    mixed.import_pages(pypdfium2.PdfDocument(pdfs.scanned(drawn("a scanned sentence", 2), (595, 842))))
    out = BytesIO()
    mixed.save(out)
    progress, document = read(out.getvalue(), ocr="auto")
    assert isinstance(document, Document), document
    assert [page.how for page in document.pages] == ["text", "text", "ocr"]
    assert [(step.done, step.how) for step in progress] == [(1, "text"), (2, "text"), (3, "ocr")]
    assert "a scanned sentence" in document.pages[2].markdown and "Page 2, with a line" in document.pages[1].markdown
    _, left = read(out.getvalue(), ocr="off")
    assert isinstance(left, Document) and [page.how for page in left.pages] == ["text", "text", "none"]


@pytest.mark.threat("T19", "T20")
@pytest.mark.parametrize("name", first(1, ["a page of a million points", "a picture of 10 gigapixels"]))
def test_rendering_a_hostile_page_ends_too(read: Read, name: str) -> None:
    _, document = read(dict(pdfs.hostile())[name], ocr="on")
    assert isinstance(document, Failure) or [page.markdown for page in document.pages] == [""]
