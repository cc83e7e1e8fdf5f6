"""Chooses the images among the outputs that a vision model gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ...protocol.failures import Failure
from ...protocol.images import MAX_IMAGE_BYTES, MAX_IMAGES, Image
from .cells import Cell

MAX_FROM_NOTEBOOK = 3
_ABOUT = re.compile(
    r"(?i)\b(plot|figure|chart|graph|image|picture|histogram|scatter|curve|axis|axes|diagram|bild|grafik|abbildung|graphique|gráfico|grafico)"
)


def choose(
    cells: Sequence[Cell], order: Callable[[], list[int]], focus: int | None, question: str, taken: int
) -> list[tuple[int, Image]]:
    """(cell index, image) of the focused cell and, if the question is about an image, of the most relevant cells."""
    limit = min(MAX_FROM_NOTEBOOK, MAX_IMAGES - taken)
    candidates = [cell for cell in cells if cell.index == focus]
    if _ABOUT.search(question):
        candidates += [cells[i] for i in order() if cells[i].index != focus]
    images: list[tuple[int, Image]] = []
    for cell in candidates:
        for out in cell.outputs:
            if len(images) >= limit:
                return images
            if out.kind == "image" and out.picture and len(out.picture) < MAX_IMAGE_BYTES:
                try:
                    images.append(
                        (cell.index, Image.of_url(f"data:{out.mime};base64," + "".join(out.picture.split()), "output"))
                    )
                except Failure:
                    continue
    return images
