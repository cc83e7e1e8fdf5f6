"""Pictures among the outputs: which of them a model that sees should get, and what they cost."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...chat_template import read_json
from ...protocol.failures import Failure
from ...protocol.images import MAX_IMAGE_BYTES, MAX_IMAGES, Image
from .cells import Cell

MAX_FROM_NOTEBOOK = 3
GUESS = (1024, 768)
ORIENTATION = 0x0112
_ABOUT = re.compile(
    r"(?i)\b(plot|figure|chart|graph|image|picture|histogram|scatter|curve|axis|axes|diagram|bild|grafik|abbildung|graphique|gráfico|grafico)"
)


def choose(
    cells: Sequence[Cell], order: Callable[[], list[int]], focus: int | None, question: str, taken: int
) -> list[tuple[int, Image]]:
    """Pictures of the focused cell and, where the question speaks of one, of the most relevant cells: (cell index, picture)."""
    room = min(MAX_FROM_NOTEBOOK, MAX_IMAGES - taken)
    places = [cell for cell in cells if cell.index == focus]
    if _ABOUT.search(question):
        places += [cells[i] for i in order() if cells[i].index != focus]
    found: list[tuple[int, Image]] = []
    for cell in places:
        for out in cell.outputs:
            if len(found) >= room:
                return found
            if out.kind == "image" and out.picture and len(out.picture) < MAX_IMAGE_BYTES:
                try:
                    found.append(
                        (cell.index, Image.of_url(f"data:{out.mime};base64," + "".join(out.picture.split()), "output"))
                    )
                except Failure:
                    continue
    return found


@dataclass(frozen=True)
class Geometry:
    """How a vision model of the Pixtral kind cuts a picture: scaled down to `longest` pixels, then one token for each square
    of `square` pixels and a mark after each row. The engine's `vision.py` does it; here it is only counted."""

    square: int = 28
    longest: int = 1540

    def tokens(self, image: Image) -> int:
        width, height = size(image)
        ratio = max(width / self.longest, height / self.longest, 1.0)
        columns, rows = ((max(1, math.floor(side / ratio)) - 1) // self.square + 1 for side in (width, height))
        return rows * (columns + 1)

    @classmethod
    def of_folder(cls, folder: Path) -> Geometry | None:
        """What the model's own files say; None where it sees nothing. Absent numbers are those of transformers' configs."""
        config = read_json(folder / "config.json")
        vision = config.get("vision_config")
        if not isinstance(vision, dict) or vision.get("model_type", "pixtral") != "pixtral":
            return None
        merge = config.get("spatial_merge_size", 2 if config.get("model_type") == "mistral3" else 1)
        longest = _told(folder).get("longest_edge") or vision.get("image_size", 1024)
        return cls(int(vision.get("patch_size", 16)) * int(merge), int(longest))


def _told(folder: Path) -> dict[str, Any]:
    """The size that the model's own files ask for."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        data = read_json(folder / name)
        size = data.get("image_processor", data).get("size")
        if isinstance(size, dict):
            return size
    return {"longest_edge": (read_json(folder / "tekken.json").get("image") or {}).get("max_image_size")}


def estimate(image: Image) -> int:
    """Tokens of a picture for a model that nothing is known of: as Mistral Small 3.1 and later cut it."""
    return Geometry().tokens(image)


def size(image: Image) -> tuple[int, int]:
    """Width and height as shown, read from the header; a guess where the picture is broken, which the engine will refuse."""
    try:
        from PIL import Image as Pillow
    except ImportError:  # a model that sees comes with it: without, only a rough number is wanted
        return _size_of_png(image.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Pillow.open(io.BytesIO(image.data), formats=("PNG", "JPEG", "WEBP", "GIF"))
            is_turned = _may_be_turned(image.data) and opened.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return _size_of_png(image.data)
    width, height = opened.size
    return (height, width) if is_turned else (width, height)


def _may_be_turned(data: bytes) -> bool:
    """Whether it is worth asking: for a PNG that means to decode all of it."""
    return data[:4] != b"\x89PNG" or any(
        mark in data for mark in (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
    )


def _size_of_png(data: bytes) -> tuple[int, int]:
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        return max(1, min(width, 65_535)), max(1, min(height, 65_535))
    return GUESS
