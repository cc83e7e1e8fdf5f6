"""Converts an encoded image to an upright RGB PNG on white, with Pillow. Runs in the child, under its limits."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

# every plugin that decoding may need: once files are forbidden, no module can be imported
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
    """The result: RGB, 8 bits a channel, upright. was: width and height before scaling."""

    data: bytes
    width: int
    height: int
    was: tuple[int, int]


def to_png(data: bytes, kind: str) -> Png:
    """Decode the first frame; check its size before any pixels are unpacked. Raises `Refusal`."""
    image = opened(data, kind)
    try:
        was = image.size
        image.draft(None, (LONGEST, LONGEST))
        image = _in_eight_bits(image)
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC, reducing_gap=3.0)
        # after scaling, so that a smaller image is rotated
        turned = ImageOps.exif_transpose(image)
        flat = _on_white(image if turned is None else turned)
    except Image.DecompressionBombError:
        raise Refusal("too_many_pixels") from None
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError, EOFError, struct.error, OverflowError):
        # Pillow's decoders raise many classes on damaged files
        raise Refusal("broken_image") from None
    return encoded(flat, (was[1], was[0]) if (flat.width < flat.height) != (was[0] < was[1]) else was)


def opened(data: bytes, kind: str) -> Image.Image:
    """The image with only its header read. Raises `Refusal`."""
    try:
        image = Image.open(io.BytesIO(data), formats=(kind.upper(),))
    except Image.DecompressionBombError:
        raise Refusal("too_many_pixels") from None
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError, EOFError, struct.error, OverflowError):
        raise Refusal("broken_image") from None
    if min(image.size) < 1:
        raise Refusal("no_pixels")
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise Refusal("too_many_pixels")
    return image


def encoded(image: Image.Image, was: tuple[int, int]) -> Png:
    """The image as a PNG, fast rather than small, since it only goes to the next process."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return Png(out.getvalue(), image.width, image.height, was)


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Convert to a mode that can be scaled, and keep Exif data. Scales 16-bit grey, which Pillow alone would clip at 255."""
    exif = image.getexif()
    if image.mode.startswith("I"):
        converted = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode in ("RGB", "L", "RGBA"):
        image.load()
        has_transparent_color = "transparency" in image.info
        converted = image.convert("RGBA") if has_transparent_color and image.mode != "RGBA" else image
    else:
        has_alpha = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
        converted = image.convert("RGBA" if has_alpha else "RGB")
    if converted is not image and exif:
        converted.info["exif"] = exif.tobytes()
    return converted


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(background, image).convert("RGB")
