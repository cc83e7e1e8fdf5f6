"""Pictures among the outputs: which of them a model that sees should get, and what they cost."""

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
