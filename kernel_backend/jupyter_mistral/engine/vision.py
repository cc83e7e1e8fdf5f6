"""Decodes images with Pillow and prepares their pixels for a Pixtral vision tower. Knows no prompts.

The numbers follow transformers' PixtralImageProcessor and mistral-common's image encoder: a longest side, patches of 14 merged
2 x 2, one token for each, and a mark after each row.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from ..protocol.failures import Failure
from ..tokenizer.image_tokens import ImageGrid
from ..tokenizer.model_files import longest_image_edge
from .prompt import PreparedImage

MAX_PIXELS, MAX_SIDE = 24_000_000, 16384
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# of CLIP, which Pixtral was trained with
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ImagePreparer:
    """Prepares images for one vision model. `ids` gives the control tokens by name."""

    def __init__(self, folder: Path, config: Any, ids: Callable[[str], int]) -> None:
        vision = config.vision_config
        square = int(vision.patch_size) * int(getattr(config, "spatial_merge_size", 1))
        self._grid = ImageGrid(square, int(longest_image_edge(folder) or vision.image_size))
        self._mark, self._break, self._end = config.image_token_id, ids("[IMG_BREAK]"), ids("[IMG_END]")

    def prepare(self, data: bytes, name: str) -> PreparedImage:
        """Decode, scale to whole squares, normalize. Raises a `Failure` with the image's `name`."""
        image = decode_image(data, name)
        columns, rows = self._grid.shape(*image.size)
        scaled = image.resize((columns * self._grid.square, rows * self._grid.square), Image.Resampling.BICUBIC)
        values = (np.asarray(scaled, dtype=np.float32) / 255 - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        row = [self._mark] * columns
        ids = [*row, self._break] * (rows - 1) + [*row, self._end]
        return PreparedImage(torch.from_numpy(values.transpose(2, 0, 1).copy())[None], tuple(ids))


def decode_image(data: bytes, name: str) -> Image.Image:
    """RGB, upright, on white. The size is checked before decoding; the format is detected from the content."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
        if opened.width * opened.height > MAX_PIXELS or max(opened.size) > MAX_SIDE:
            raise Image.DecompressionBombError
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    except Image.DecompressionBombError:
        raise Failure(
            "too_large",
            f"{name} has more than {MAX_PIXELS // 10**6} megapixels or {MAX_SIDE:,} pixels on one side.",
            "Send a smaller image.",
        ) from None
    except (OSError, ValueError, SyntaxError):
        raise Failure(
            "bad_request", f"{name} cannot be read as PNG, JPEG, WebP or GIF.", "Save the image again, then resend it."
        ) from None
    background = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(background, image).convert("RGB")
