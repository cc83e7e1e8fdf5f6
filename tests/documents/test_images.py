"""Images become plain upright PNGs or are refused in one sentence; no file reaches the network or leaves a process behind."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import hostile_images as hostile
import psutil
import pytest
from jupyter_mistral.documents.decoder import DecodedImage, Decoder
from jupyter_mistral.documents.limits import LONGEST
from jupyter_mistral.documents.sniff import kind_of
from jupyter_mistral.protocol.failures import Failure
from PIL import Image

Decode = Callable[[bytes], DecodedImage | Failure]
pytestmark = pytest.mark.threat("T18", "T19")


def pixels(decoded: DecodedImage | Failure) -> Image.Image:
    assert isinstance(decoded, DecodedImage), decoded
    image = Image.open(io.BytesIO(decoded.image.data))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (decoded.width, decoded.height))
    assert not image.info.get("exif")
    return image


def near(image: Image.Image, at: tuple[float, float], color: tuple[int, int, int], within: int = 60) -> bool:
    """Whether the image has about this colour at a position, in fractions of its sides."""
    got = image.getpixel((int(at[0] * image.width), int(at[1] * image.height)))
    return all(abs(a - b) <= within for a, b in zip(got, color, strict=True))


@pytest.mark.threat("T18")
@pytest.mark.parametrize(("name", "data"), list(hostile.refused()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_image_is_refused_in_one_sentence(decode: Decode, name: str, data: bytes) -> None:
    assert isinstance(decode(data), Failure)


@pytest.mark.parametrize("name", hostile.accepted())
def test_an_unusual_image_is_upright_and_keeps_its_colours(decode: Decode, name: str) -> None:
    image = pixels(decode(hostile.accepted()[name]))
    assert image.width == 2 * image.height
    assert near(image, (0.25, 0.5), (255, 0, 0)) and near(image, (0.75, 0.5), (0, 0, 255))


def test_sixteen_bits_of_grey_are_scaled_not_clipped(decode: Decode) -> None:
    row = b"\0" + struct.pack(">256H", *(i * 257 for i in range(256)))
    head = struct.pack(">IIBBBBB", 256, 20, 16, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        hostile._chunk(*part) for part in ((b"IHDR", head), (b"IDAT", zlib.compress(row * 20)), (b"IEND", b""))
    )
    image = pixels(decode(data))
    assert [abs(image.getpixel((x, 5))[0] - x) <= 1 for x in range(256)].count(True) == 256


def test_transparent_pixels_become_white(decode: Decode) -> None:
    clear = Image.new("RGBA", (60, 40), (255, 0, 0, 0))
    for kind in ("PNG", "WEBP"):
        assert near(pixels(decode(hostile.saved(clear, kind))), (0.5, 0.5), (255, 255, 255), 1)
    marked = Image.new("P", (60, 40), 3)
    assert near(pixels(decode(hostile.saved(marked, "GIF", transparency=3))), (0.5, 0.5), (255, 255, 255), 1)


def test_a_large_image_is_scaled_and_its_size_is_reported(decode: Decode) -> None:
    decoded = decode(hostile.saved(Image.new("RGB", (6000, 3000), "green"), "JPEG"))
    assert isinstance(decoded, DecodedImage)
    assert (decoded.width, decoded.height, decoded.was) == (LONGEST, LONGEST // 2, (6000, 3000))


def test_a_small_image_keeps_its_pixels(decode: Decode) -> None:
    image = hostile.noise(317, 211)
    assert pixels(decode(hostile.saved(image, "PNG"))).tobytes() == image.tobytes()


@pytest.mark.threat("T18", "T3")
def test_an_svg_reaches_neither_network_nor_files(decode: Decode, tmp_path: Path) -> None:
    red = tmp_path / "red.png"
    red.write_bytes(hostile.saved(Image.new("RGB", (50, 50), "red"), "PNG"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/red.png"
        for reference in (url, red.as_uri(), str(red), os.path.relpath(red)):
            body = f'<image href="{reference}" width="100" height="100"/><image xlink:href="{reference}" width="100" height="100"/>'
            style = f'<style>@import url({url}); rect {{ fill: url({url}) }}</style><use href="{reference}#x"/>'
            data = hostile.SVG + f'width="100" height="100">{style}{body}</svg>'.encode()
            assert near(pixels(decode(data)), (0.5, 0.5), (255, 255, 255), 1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_plot_saved_as_svg_is_the_plot(decode: Decode) -> None:
    """Its size is in points, and its characters are reused symbols."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure, out = Figure(figsize=(4, 2), facecolor="lime"), io.BytesIO()
    axes = figure.add_axes((0.5, 0, 0.5, 1))
    axes.set_facecolor("blue")
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), 1, 1, color="blue"))
    figure.savefig(out, format="svg")
    image = pixels(decode(out.getvalue()))
    assert image.width == 2 * image.height
    assert near(image, (0.25, 0.5), (0, 255, 0)) and near(image, (0.75, 0.5), (0, 0, 255))


def test_an_svg_shows_its_embedded_images(decode: Decode) -> None:
    embedded = base64.b64encode(hostile.saved(Image.new("RGB", (50, 50), "red"), "PNG")).decode()
    data = (
        hostile.SVG
        + f'width="100" height="100"><image href="data:image/png;base64,{embedded}" width="100" height="100"/></svg>'.encode()
    )
    assert near(pixels(decode(data)), (0.5, 0.5), (255, 0, 0))


def test_formats_are_detected_by_content_alone() -> None:
    assert [kind_of(hostile.saved(hostile.noise(), kind)) for kind in ("PNG", "JPEG", "WEBP", "GIF")] == [
        "png", "jpeg", "webp", "gif",
    ]  # fmt: skip
    assert kind_of(b"RIFF\0\0\0\0WAVE") is None and kind_of(b"<svgx/>") is None and kind_of(b"x<svg/>") is None


async def _many(count: int) -> tuple[list[DecodedImage], list[int], list[psutil.Process]]:
    decoder = Decoder()
    data = hostile.saved(hostile.noise(), "PNG")
    others = {process.pid for process in psutil.Process().children()}
    try:
        decoded = await asyncio.gather(*(decoder.image(data) for _ in range(count)))
        children = [process for process in psutil.Process().children() if process.pid not in others]
        alive = [process for process in children if "jupyter_mistral.documents" in process.cmdline()]
        return list(decoded), [process.pid for process in alive], alive
    finally:
        await decoder.close()


@pytest.mark.threat("T18")
def test_each_image_has_its_own_child_and_none_is_left() -> None:
    decoded, spare, alive = asyncio.run(_many(5))
    assert len(decoded) == 5
    assert len(spare) == 1, "one spare child is ready"
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in alive)


CHILD = """
import os, sys, json, socket
from jupyter_mistral.documents import sandbox
from jupyter_mistral.documents.limits import IMAGE
report = sandbox.lock()
sandbox.limit(IMAGE); sandbox.close()
out = {"kind": report.kind, "measured": report.measured}
def attempt(name, act):
    try: act(); out[name] = "done"
    except (OSError, MemoryError) as error: out[name] = type(error).__name__
attempt("file", lambda: open("/etc/hostname"))
attempt("socket", lambda: socket.create_connection(("127.0.0.1", 9), 0.2))
attempt("memory", lambda: bytearray(700 * 2**20))
os.write(1, json.dumps(out).encode())
"""


@pytest.mark.threat("T1", "T18", "T20")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the seal")
def test_the_child_has_no_network_no_files_and_little_memory() -> None:
    import json
    import subprocess

    env = {k: v for k, v in os.environ.items() if k != "JUPYTER_MISTRAL_SEAL"}
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True, env=env)
    report = json.loads(done.stdout)
    assert report.pop("kind") in ("namespace", "seccomp")
    assert report.pop("memory") == "MemoryError"
    assert report == {"measured": True, "file": "OSError", "socket": report["socket"]} and report["socket"] != "done"
