"""Encoded pictures -> prepared pixels for a Pixtral vision tower, by Pillow alone. Knows nothing of prompts.

Numbers as in transformers' PixtralImageProcessor and mistral-common's image encoder: longest side, patches of 14 merged
2 x 2, one token for each, a mark after each row.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from ..protocol.failures import Failure
from .decode.prompt import Picture

MAX_PIXELS, MAX_SIDE = 24_000_000, 16384
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# CLIP's, which Pixtral was trained with
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Eyes:
    """How one model wants its pictures. `ids` gives the control tokens by name."""

    def __init__(self, folder: Path, config: Any, ids: Callable[[str], int]) -> None:
        vision = config.vision_config
        self._cell = int(vision.patch_size) * int(getattr(config, "spatial_merge_size", 1))
        self._longest = int(_told(folder).get("longest_edge") or vision.image_size)
        self._mark, self._break, self._end = config.image_token_id, ids("[IMG_BREAK]"), ids("[IMG_END]")

    def prepare(self, data: bytes, which: str) -> Picture:
        """Decode, scale to whole cells, normalize. Raises `Failure` that names the picture as `which`."""
        picture = decode(data, which)
        wide, high = self._cells(*picture.size)
        scaled = picture.resize((wide * self._cell, high * self._cell), Image.Resampling.BICUBIC)
        values = (np.asarray(scaled, dtype=np.float32) / 255 - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        row = [self._mark] * wide
        ids = [*row, self._break] * (high - 1) + [*row, self._end]
        return Picture(torch.from_numpy(values.transpose(2, 0, 1).copy())[None], tuple(ids))

    def _cells(self, wide: int, high: int) -> tuple[int, int]:
        ratio = max(wide / self._longest, high / self._longest, 1.0)
        wide, high = (max(1, math.floor(side / ratio)) for side in (wide, high))
        return (wide - 1) // self._cell + 1, (high - 1) // self._cell + 1


def _told(folder: Path) -> dict[str, Any]:
    """The size that the model's own files ask for."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            data = json.loads((folder / name).read_bytes())
            size = data.get("image_processor", data).get("size")
            if isinstance(size, dict):
                return size
    if (folder / "tekken.json").is_file():
        # the only picture setting of a Mistral folder without processor files
        image = json.loads((folder / "tekken.json").read_bytes()).get("image") or {}
        return {"longest_edge": image.get("max_image_size")}
    return {}


def decode(data: bytes, which: str) -> Image.Image:
    """RGB, upright, on white. The size is checked before anything is unpacked; the format is told by the content."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
        if opened.width * opened.height > MAX_PIXELS or max(opened.size) > MAX_SIDE:
            raise Image.DecompressionBombError
        picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except Image.DecompressionBombError:
        raise Failure(
            "too_large",
            f"{which} has more than {MAX_PIXELS // 10**6} megapixels or {MAX_SIDE:,} pixels a side.",
            "Send a smaller picture.",
        ) from None
    except (OSError, ValueError, SyntaxError):
        raise Failure(
            "bad_request", f"{which} cannot be read as PNG, JPEG, WebP or GIF.", "Save the picture again and resend it."
        ) from None
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")
