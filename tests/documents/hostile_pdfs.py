"""PDFs for the tests: ordinary ones made with reportlab, and hostile ones written by hand."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from reportlab.lib import colors, pagesizes, pdfencrypt, styles
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas
from reportlab.platypus import Image, ListFlowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle
from reportlab.platypus.doctemplate import BaseDocTemplate, PageTemplate
from reportlab.platypus.frames import Frame

SENTENCE = (
    "The velocity of the fox was measured by seventeen engineers with great care, every morning of the year 2024. "
)
ROWS = [
    ["Year", "Revenue (EUR)", "Growth"],
    ["2021", "1,200", "4.1 %"],
    ["2022", "1,350", "12.5 %"],
    ["2023", "1,290", "-4.4 %"],
]


def report(picture: bytes | None = None) -> bytes:
    """Two pages: title, headings, paragraphs, a table with rules and one without, a list, a figure, a foot on each page."""
    style, out = styles.getSampleStyleSheet(), io.BytesIO()
    ruled = Table(ROWS, style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)]))
    text = Paragraph(SENTENCE * 4, style["BodyText"])
    items = [Paragraph(item, style["BodyText"]) for item in ("catch the fox", "measure it")]
    parts: list[Any] = [
        Paragraph("Annual report of the fox", style["Title"]),
        Paragraph("Introduction", style["Heading2"]),
    ]
    parts += [text, text, Paragraph("Figures", style["Heading3"]), ruled, Spacer(1, 12), text, PageBreak()]
    parts += [Paragraph("Method", style["Heading2"]), text, Spacer(1, 12), Table(ROWS), Spacer(1, 12), text]
    parts += [ListFlowable(items, bulletType="bullet")]
    if picture is not None:
        parts += [Image(io.BytesIO(picture), 200, 120), Paragraph("Figure 1: the speed", style["BodyText"])]
    SimpleDocTemplate(out, pagesize=pagesizes.A4, title="The fox").build(parts)
    return out.getvalue()


def two_columns() -> tuple[bytes, str]:
    """A page in two columns, and its words in reading order."""
    words = SENTENCE.replace(".", "").replace(",", "").split()
    dice, style, out = random.Random(1), styles.getSampleStyleSheet()["BodyText"], io.BytesIO()
    text = [" ".join(dice.choice(words) for _ in range(110)) + "." for _ in range(6)]
    made = BaseDocTemplate(out, pagesize=pagesizes.A4)
    wide = made.width / 2 - 6
    places = [(made.leftMargin, wide), (made.leftMargin + wide + 12, wide)]
    made.addPageTemplates([PageTemplate(frames=[Frame(x, made.bottomMargin, w, made.height) for x, w in places])])
    made.build([Paragraph(part, style) for part in text])
    return out.getvalue(), " ".join(text)


def pages(count: int, text: str = "Page {n}, with a line of text on it.") -> bytes:
    out = io.BytesIO()
    made = canvas.Canvas(out, pageCompression=1)
    for n in range(1, count + 1):
        made.drawString(72, 720, text.format(n=n))
        made.drawString(72, 30, f"Confidential, page {n}")
        made.showPage()
    made.save()
    return out.getvalue()


def encrypted() -> bytes:
    out = io.BytesIO()
    made = canvas.Canvas(out, encrypt=pdfencrypt.StandardEncryption("secret", canPrint=0))
    made.drawString(72, 720, "nobody reads this")
    made.save()
    return out.getvalue()


def scanned(picture: Any, size: tuple[float, float], count: int = 1) -> bytes:
    """Pages that are one picture each."""
    out = io.BytesIO()
    made = canvas.Canvas(out, pagesize=size)
    for _ in range(count):
        made.drawImage(ImageReader(picture), 0, 0, *size)
        made.showPage()
    made.save()
    return out.getvalue()


def written(*objects: bytes, root: int = 1, trailer: bytes = b"") -> bytes:
    """A PDF of these objects, counted from 1, with a right table of where they are."""
    data, places = b"%PDF-1.7\n", []
    for n, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (n, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return data + b"trailer\n<</Size %d /Root %d 0 R %s>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        root,
        trailer,
        start,
    )


def stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d %s>>\nstream\n%s\nendstream" % (len(data), more, data)


def _page(content: bytes, *more: bytes, resources: bytes = b"", box: bytes = b"[0 0 612 792]") -> bytes:
    page = b"<</Type /Page /Parent 2 0 R /MediaBox %s /Contents 4 0 R /Resources <<%s>>>>" % (box, resources)
    return written(b"<</Type /Catalog /Pages 2 0 R>>", b"<</Type /Pages /Kids [3 0 R] /Count 1>>", page, content, *more)


def packed_zeros(count: int) -> bytes:
    """What zlib makes of so many zeros (a multiple of 4 MiB), from one packed block again and again: it takes no time."""
    size = 4 * 2**20
    packer = zlib.compressobj(9)
    block = (packer.compress(bytes(size)) + packer.flush(zlib.Z_FULL_FLUSH))[2:]
    adler = (count % 65521) << 16 | 1
    return b"\x78\xda" + block * (count // size) + b"\x03\x00" + struct.pack(">I", adler)


def hostile() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of what must end soon, in whatever way, with words of ours."""
    zeros = packed_zeros(400 * 2**20)
    font = b"/Font <</F 5 0 R>>"
    text = stream(b"BT /F 12 Tf 72 700 Td <00410042> Tj ET")
    yield "empty", b""
    yield "only the mark", b"%PDF-1.7\n"
    yield "noise after the mark", b"%PDF-1.7\n" + random.Random(3).randbytes(20_000)
    yield (
        "a page tree that loops",
        written(b"<</Type /Catalog /Pages 2 0 R>>", b"<</Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000>>"),
    )
    yield (
        "a table that points at itself",
        b"%PDF-1.7\nxref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 1 /Prev 9 /Root 1 0 R>>\nstartxref\n9\n%%EOF",
    )
    yield "a form that draws itself", _page(
        stream(b"/X Do"), stream(b"/X Do /X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources <</XObject <</X 5 0 R>>>>"),
        resources=b"/XObject <</X 5 0 R>>",
    )  # fmt: skip
    yield "a stream of 400 MB", _page(stream(zeros, b"/Filter /FlateDecode"))
    yield "a stream packed twice", _page(stream(zlib.compress(zeros, 9), b"/Filter [/FlateDecode /FlateDecode]"))
    yield "a run of 100 MB", _page(stream(b"\x81 " * 800_000 + b"\x80", b"/Filter /RunLengthDecode"))
    yield "a map of a billion characters", _page(
        text,
        b"<</Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /DescendantFonts [7 0 R] /ToUnicode 6 0 R>>",
        stream(b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00000000> <FFFFFFFF> endcodespacerange "
               b"1 beginbfrange <00000000> <3B9ACA00> <0041> endbfrange endcmap end"),
        b"<</Type /Font /Subtype /CIDFontType2 /BaseFont /A /CIDSystemInfo <</Registry (Adobe) /Ordering (Identity) /Supplement 0>>>>",
        resources=font,
    )  # fmt: skip
    yield "arrays 100,000 deep", _page(stream(b"[" * 100_000 + b"]" * 100_000))
    yield "a million saved states", _page(stream(b"q " * 1_000_000))
    yield "a page of a million points", _page(stream(b""), box=b"[0 0 1e9 1e9]")
    yield "a page without area", _page(stream(b""), box=b"[0 0 0 0]")
    yield "a page upside down", _page(stream(b""), box=b"[612 792 -1e30 nan]")
    yield (
        "a script and a link",
        written(
            b"<</Type /Catalog /Pages 2 0 R /OpenAction <</S /JavaScript /JS (app.alert\\(1\\); while\\(true\\);)>>>>",
            b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
            b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /AA <</O <</S /URI /URI (http://127.0.0.1:9/)>>>>>>",
        ),
    )
    yield "an outline that loops", written(
        b"<</Type /Catalog /Pages 2 0 R /Outlines 4 0 R>>", b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]>>", b"<</First 5 0 R /Last 5 0 R>>", b"<</Title (a) /Next 5 0 R /Parent 4 0 R>>",
    )  # fmt: skip
    yield "a length that is another's", _page(b"<</Length 4 0 R>>\nstream\nBT ET\nendstream")
    yield "a picture of 10 gigapixels", _page(
        stream(b"600 0 0 700 0 0 cm /I Do"),
        stream(b"x", b"/Type /XObject /Subtype /Image /Width 100000 /Height 100000 /ColorSpace /DeviceRGB /BitsPerComponent 8"),
        resources=b"/XObject <</I 5 0 R>>",
    )  # fmt: skip
    whole = pages(3)
    for part in (3, 2):
        yield f"the first {part} quarters", whole[: len(whole) * part // 4]
