"""Encoded pictures -> one upright RGB PNG on white, by Pillow. Runs in the child, its limits set."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

# every plugin that decoding may ask for: once the child is closed no file is opened any more, not even a module's
from PIL import (
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .limits import LONGEST, MAX_PIXELS, MAX_SIDE, Refusal

PLUGINS = (GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
Image.preinit()
warnings.simplefilter("ignore")


@dataclass(frozen=True)
class Png:
    """A picture as it goes on: 8 bits a channel, RGB, upright. was: width and height before it was scaled down."""

    data: bytes
    width: int
    height: int
    was: tuple[int, int]


def to_png(data: bytes, kind: str) -> Png:
    """Decode the first frame. Raises `Refusal`; the size is checked before anything is unpacked."""
    picture = opened(data, kind)
    try:
        was = picture.size
        picture.draft(None, (LONGEST, LONGEST))
        picture = _in_eight_bits(picture)
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC, reducing_gap=3.0)
        # after the thumbnail, which a rotation does not change, so that what is turned is small
        turned = ImageOps.exif_transpose(picture)
        flat = _on_white(picture if turned is None else turned)
    except Image.DecompressionBombError:
        raise Refusal("too_many_pixels") from None
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError, EOFError, struct.error, OverflowError):
        # what Pillow's decoders raise on damaged files is not one class
        raise Refusal("broken_picture") from None
    return encoded(flat, (was[1], was[0]) if (flat.width < flat.height) != (was[0] < was[1]) else was)


def opened(data: bytes, kind: str) -> Image.Image:
    """The picture's head, read; its pixels are not. Raises `Refusal`."""
    try:
        picture = Image.open(io.BytesIO(data), formats=(kind.upper(),))
    except Image.DecompressionBombError:
        raise Refusal("too_many_pixels") from None
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError, EOFError, struct.error, OverflowError):
        raise Refusal("broken_picture") from None
    if min(picture.size) < 1:
        raise Refusal("no_pixels")
    if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE:
        raise Refusal("too_many_pixels")
    return picture


def encoded(picture: Image.Image, was: tuple[int, int]) -> Png:
    """`picture` as PNG; quick rather than small, since it goes no further than the next process."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return Png(out.getvalue(), picture.width, picture.height, was)


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """A mode that can be scaled; what Exif says stays with it. 16-bit grey is scaled: Pillow alone would clip it at 255."""
    exif = picture.getexif()
    if picture.mode.startswith("I"):
        made = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif picture.mode in ("RGB", "L", "RGBA"):
        picture.load()
        has_mark = "transparency" in picture.info
        made = picture.convert("RGBA") if has_mark and picture.mode != "RGBA" else picture
    else:
        has_alpha = picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info
        made = picture.convert("RGBA" if has_alpha else "RGB")
    if made is not picture and exif:
        made.info["exif"] = exif.tobytes()
    return made


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")
