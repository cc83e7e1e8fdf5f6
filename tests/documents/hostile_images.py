"""Hostile and unusual images, by name."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '


def saved(picture: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


def noise(width: int = 160, height: int = 120) -> Image.Image:
    return Image.effect_noise((width, height), 90).convert("RGB")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int = 8, color: int = 0, extra: bytes = b"") -> bytes:
    """A valid PNG of one colour, however large, in a few kilobytes."""
    row = 1 + (width * {0: 1, 2: 3, 6: 4}[color] * depth + 7) // 8
    data = zlib.compress(bytes(row * height), 1)
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _gif_of_another_size() -> bytes:
    data = bytearray(saved(noise(), "GIF"))
    data[6:10] = b"\xff\xff\xff\xff"
    return bytes(data)


def _laughing_svg() -> bytes:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    text = (
        f'<!DOCTYPE svg [<!ENTITY a0 "ha">{entities}]><svg xmlns="http://www.w3.org/2000/svg"><text>&a11;</text></svg>'
    )
    return text.encode()


def refused() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of what must not be decoded."""
    whole = {kind: saved(noise(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")}
    yield "empty", b""
    yield "text", b"a picture, honestly"
    yield "random", random.Random(5).randbytes(5000)
    for kind in ("BMP", "TIFF", "ICO", "PPM"):
        yield f"another format, {kind}", saved(noise(), kind)
    yield "photoshop", b"8BPS\0\x01" + bytes(60)
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    yield "a web page", b"<html><body><svg/></body></html>"
    for kind, data in whole.items():
        yield f"truncated {kind}", data[: len(data) // 2]
        yield f"only the mark of {kind}", data[:12]
        yield f"the mark of {kind} before noise", data[:12] + random.Random(6).randbytes(3000)
    yield "a bomb", png(9000, 9000)
    yield "65535 by 1", png(65535, 1)
    yield "20,000 px wide", png(20_000, 10)
    yield "no width", png(0, 10)
    yield "no height", png(10, 0)
    yield "a giant GIF of one small frame", _gif_of_another_size()
    yield "text that unpacks to 100 MB", png(8, 8, extra=_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 1)))
    yield "more than 20 MB", whole["PNG"] + bytes(20 * 2**20)
    yield "a wrong checksum", whole["PNG"].replace(b"IDAT", b"IDAU", 1)
    yield "SVG that is no XML", SVG + b"><g></svg>"
    yield "SVG without size", SVG + b'width="0" height="0"/>'
    yield "SVG of a billion laughs", _laughing_svg()
    yield "SVG nested 100,000 deep", SVG + b">" + b"<g>" * 100_000 + b"</g>" * 100_000 + b"</svg>"


def accepted() -> dict[str, bytes]:
    """Unusual, but pictures: each is red on its left and blue on its right half."""
    flag = Image.new("RGB", (200, 100), "red")
    flag.paste("blue", (100, 0, 200, 100))
    frames = [flag, *(Image.new("RGB", (200, 100), (0, n, 0)) for n in range(199))]
    more = {"save_all": True, "append_images": frames[1:], "duration": 20}
    upright = Image.Exif()
    upright[0x0112] = 6  # the camera lay on its side
    clear = flag.convert("RGBA")
    clear.putalpha(Image.new("L", flag.size, 255))
    drawing = SVG + b'width="200" height="100"><rect width="100" height="100" fill="red"/><rect x="100" '
    drawing += b'width="100" height="100" fill="blue"/>'
    return {
        "CMYK": saved(flag.convert("CMYK"), "JPEG"),
        "progressive": saved(flag, "JPEG", progressive=True),
        "grey palette": saved(flag.convert("P"), "PNG"),
        "alpha": saved(clear, "PNG"),
        "alpha WebP": saved(clear, "WEBP", lossless=True),
        "turned by Exif": saved(flag.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=upright),
        "animated GIF": saved(flag, "GIF", **more),
        "animated WebP": saved(flag, "WEBP", lossless=True, **more),
        "animated PNG": saved(flag, "PNG", **more),
        "16-bit RGB": _sixteen_bit_flag(),
        "SVG with a script": drawing + b"<script>while(true);</script></svg>",
        "SVG with handlers": drawing.replace(b"<rect", b'<rect onload="while(true);"') + b"</svg>",
        "SVG after a prologue": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- hello -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
        b'"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n' + drawing + b"</svg>",
        "SVG 20,000 px wide": drawing.replace(
            b'width="200" height="100"', b'width="20000" height="10000" viewBox="0 0 200 100"', 1
        )
        + b"</svg>",
    }


def _sixteen_bit_flag() -> bytes:
    row = b"\0" + b"\xff\xff\0\0\0\0" * 100 + b"\0\0\0\0\xff\xff" * 100
    head = struct.pack(">IIBBBBB", 200, 100, 16, 2, 0, 0, 0)
    body = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(row * 100)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
