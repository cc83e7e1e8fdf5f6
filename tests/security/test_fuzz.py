"""Random bytes at every entry that accepts bytes, within a budget: they are refused with a reason or read correctly.

The fuzz test of the notebook reader is in `tests/context/test_cells.py`.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_mistral.documents.decoder import Decoder
from jupyter_mistral.protocol.documents import PageRead
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.wire import FrameReader, read_json, to_frame
from PIL import Image

LIMITS = settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(LIMITS, max_examples=examples(2000))


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((40, 30)).convert("P" if kind == "GIF" else "RGB").save(out, kind)
    return out.getvalue()


def pdf() -> bytes:
    """A handwritten PDF with one line."""
    stream = b"BT /F1 24 Tf 40 100 Td (Hello) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start)


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """A valid file with bytes changed, removed, repeated or inserted; sometimes random bytes."""
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["set", "cut", "put", "twice"]))
        if kind == "set" and data:
            data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 200))]
        elif kind == "put":
            data[at:at] = draw(st.binary(max_size=40))
        else:
            data[at:at] = data[at : at + 100]
    return bytes(data)


@pytest.fixture
def door() -> Iterator[tuple[Decoder, asyncio.AbstractEventLoop]]:
    loop = asyncio.new_event_loop()
    decoder = Decoder()
    yield decoder, loop
    loop.run_until_complete(decoder.close())
    loop.close()


@pytest.mark.threat("T18", "T19")
def test_every_image_is_either_decoded_or_refused(door: tuple[Decoder, asyncio.AbstractEventLoop]) -> None:
    decoder, loop = door
    seen = set()

    @LIMITS
    @given(damaged([picture(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]) | st.binary(max_size=200))
    def check(data: bytes) -> None:
        try:
            found = loop.run_until_complete(decoder.image(data))
        except Failure as failure:
            seen.add("refused")
            assert failure.status < 500 and "0x" not in str(failure) and "Traceback" not in str(failure)
        else:
            seen.add("decoded")
            assert found.image.mime == "image/png" and max(found.width, found.height) > 0

    check()
    assert seen == {"refused", "decoded"}


@pytest.mark.threat("T20", "T19")
def test_every_pdf_is_either_read_or_refused(door: tuple[Decoder, asyncio.AbstractEventLoop]) -> None:
    decoder, loop = door
    seen = set()

    async def read(data: bytes) -> None:
        async for step in decoder.document(data, ocr="off"):
            if not isinstance(step, PageRead):
                seen.add("read")

    @LIMITS
    @given(damaged([pdf()]) | st.binary(max_size=200).map(lambda rest: b"%PDF-1.7\n" + rest))
    def check(data: bytes) -> None:
        try:
            loop.run_until_complete(read(data))
        except Failure as failure:
            seen.add("refused")
            assert failure.status < 500 and "0x" not in str(failure) and "Traceback" not in str(failure)

    check()
    assert seen == {"refused", "read"}


@pytest.mark.threat("T31")
@pytest.mark.fault("F20")
@MANY
@given(damaged([to_frame({"type": "delta", "id": "1", "text": "héllo"}, b"blob") * 3]), st.integers(1, 50))
def test_bytes_on_the_wire_raise_only_value_error(data: bytes, size: int) -> None:
    frames, count = FrameReader(), 0
    try:
        for at in range(0, len(data), size):
            for header, blob in frames.feed(data[at : at + size]):
                assert isinstance(header["type"], str) and isinstance(blob, bytes)
                count += 1
    except ValueError:
        return
    assert count <= len(data) // 8


@pytest.mark.threat("T22")
@MANY
@given(damaged([json.dumps({"messages": [{"role": "user", "content": "é" * 9}], "n": 1, "x": [1.5, None]}).encode()]))
def test_bodies_raise_only_failures(data: bytes) -> None:
    try:
        value = read_json(data)
    except Failure as failure:
        assert failure.code == "bad_request"
    else:
        json.dumps(value, allow_nan=False).encode()
