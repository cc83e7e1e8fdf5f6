"""The number of tokens of an image, from its header alone."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

from ..protocol.images import Image
from .model_files import longest_image_edge, read_json

UNKNOWN_SIZE = (1024, 768)
EXIF_ORIENTATION = 0x0112
MAX_SIDE = 65_535


@dataclass(frozen=True)
class ImageGrid:
    """How a vision model of the Pixtral kind splits an image: scaled down to `longest` pixels, then one token for each square of
    `square` pixels and a mark after each row. Numbers as in transformers' PixtralImageProcessor and mistral-common."""

    square: int = 28
    longest: int = 1540

    @classmethod
    def of_folder(cls, folder: Path) -> ImageGrid | None:
        """As the model's own files say, None if the model sees nothing. Defaults are those of transformers' configs."""
        config = read_json(folder / "config.json")
        vision = config.get("vision_config")
        if not isinstance(vision, dict) or vision.get("model_type", "pixtral") != "pixtral":
            return None
        merge = config.get("spatial_merge_size", 2 if config.get("model_type") == "mistral3" else 1)
        longest = longest_image_edge(folder) or vision.get("image_size", 1024)
        return cls(int(vision.get("patch_size", 16)) * int(merge), int(longest))

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of squares for an image of so many pixels."""
        ratio = max(width / self.longest, height / self.longest, 1.0)
        columns, rows = ((max(1, math.floor(side / ratio)) - 1) // self.square + 1 for side in (width, height))
        return columns, rows

    def tokens(self, image: Image) -> int:
        columns, rows = self.shape(*size(image))
        return rows * (columns + 1)


def estimate(image: Image) -> int:
    """Tokens of an image for an unknown model: as many as for Mistral Small 3.1 and later."""
    return ImageGrid().tokens(image)


def size(image: Image) -> tuple[int, int]:
    """Width and height as shown, read from the header; a guess for a broken image, which the engine will refuse."""
    try:
        from PIL import Image as Pillow
    except ImportError:  # a machine with a vision model has it; others need only a rough number
        return _size_of_png(image.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Pillow.open(io.BytesIO(image.data), formats=("PNG", "JPEG", "WEBP", "GIF"))
            is_turned = _may_be_turned(image.data) and opened.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return _size_of_png(image.data)
    width, height = opened.size
    return (height, width) if is_turned else (width, height)


def _may_be_turned(data: bytes) -> bool:
    """Whether to look for an orientation at all: in a PNG that means decoding all of it."""
    marks = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
    return data[:4] != b"\x89PNG" or any(mark in data for mark in marks)


def _size_of_png(data: bytes) -> tuple[int, int]:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        return max(1, min(width, MAX_SIDE)), max(1, min(height, MAX_SIDE))
    return UNKNOWN_SIZE
