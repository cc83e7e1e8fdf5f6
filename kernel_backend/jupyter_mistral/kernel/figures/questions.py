"""Prepares figures for a question: their facts, their images if the model can see, and how the answer begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...protocol.conversation import Message
from ...protocol.images import MAX_IMAGES, Image
from ..errors import MistralError
from ..host.client import Client
from .references import NamedFigure
from .words.headline import numbers_in, unknown_numbers
from .words.summary import LIMIT, summarize

EXPLAIN = (
    "Explain in plain words what the figure shows: what is compared or followed over what, the trends, what stands out, and "
    "anything that could mislead a reader. Use only the numbers in its facts."
)
COMPARE = (
    "The facts come from the figure's data, the image shows how it was drawn. Compare them. End with a line that begins with "
    "“**Contradictions:**” and names each (a legend that names the wrong series, a cropped axis, a label that does not fit), or says none."
)
FROM_DATA, SHOWS = "From the figure's data", "**In plain words:** The figure shows "
NOT_SEEN = "(this model cannot see images)"


@dataclass(frozen=True)
class FigureContext:
    """What is sent with a question about figures. note: for the user. opening: how the answer begins."""

    facts: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    instruction: str = ""
    note: str = ""
    opening: str = ""

    def add_to(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Put the images before the text of the last message, and the instruction after it."""
        *past, question = messages
        text = f"{question.text}\n\n{self.instruction}".strip()
        return (*past, Message(question.role, (*self.images, text)))


def prepare_figures(figures: Sequence[NamedFigure], can_see: bool, is_explanation: bool = False) -> FigureContext:
    """Prepare what is sent of `figures`. is_explanation: the answer begins with the numbers themselves.

    Raises `MistralError` for too many figures, or one with neither numbers nor an image that this model can see.
    """
    if len(figures) > MAX_IMAGES:
        raise MistralError(f"A question can include at most {MAX_IMAGES} figures, not {len(figures)}. Name fewer.")
    images = []
    for figure in figures:
        image = figure.render() if can_see else None
        if image is not None:
            images.append(image)
        elif not figure.facts.has_numbers:
            raise _unreadable(figure, can_see)
    with_numbers = [figure for figure in figures if figure.facts.has_numbers]
    facts = tuple(str(figure.facts) for figure in with_numbers)
    opening = _opening(with_numbers, is_explanation, bool(images))
    if images:
        return FigureContext(facts, tuple(images), COMPARE if facts else "", opening=opening)
    if can_see:
        note = "No image of the figure is available. The model receives the numbers from its data."
    else:
        note = "This model cannot see images. It receives the numbers from the figure's data."
    return FigureContext(facts, note=note, opening=opening)


def _unreadable(figure: NamedFigure, can_see: bool) -> MistralError:
    if can_see:
        return MistralError(f"No numbers could be read from {figure.name}, and no image of it is available.")
    return MistralError(
        f"No numbers could be read from {figure.name}, and this model cannot see images. "
        "Choose a model that can: `%mistral list` shows them."
    )


def _opening(figures: Sequence[NamedFigure], is_explanation: bool, is_seen: bool) -> str:
    """Return our own start of the answer. Its numbers are exact and it says what the model did not see, whatever the model is."""
    if not figures or (is_seen and not is_explanation):
        return ""
    source = FROM_DATA if is_seen else f"{FROM_DATA} {NOT_SEEN}"
    if not is_explanation:
        return f"*{source}.*\n\n"
    parts = [
        (f"{figure.name}:\n\n" if len(figures) > 1 else "") + summarize(figure.facts.figure, LIMIT // len(figures))
        for figure in figures
    ]
    return "\n\n".join([f"*{source}:*", *parts, SHOWS])


def check_numbers(answer: str, question: str, figures: Sequence[NamedFigure]) -> str:
    """Return a warning if the answer has numbers that are neither in the question nor in any figure, else ""."""
    facts = [figure.facts for figure in figures if figure.facts.has_numbers]
    if not facts or len(facts) < len(figures):  # an image without facts has no numbers to check against
        return ""
    unknown = [n for n in unknown_numbers(answer, facts) if not numbers_in(n) <= numbers_in(question)]
    if not unknown:
        return ""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"Check these numbers; they are not in the figure: {', '.join(unknown[:5])}{more}."


def can_see(client: Client, model: str | None) -> bool:
    """Return whether `model` (None: the loaded model, else the default) accepts images."""
    status = client.get("/mistral/api/status")
    card = status.get("model") or {}
    name = model or card.get("name") or status.get("default_model")
    if card.get("name") == name:
        return "image" in card.get("can", ())
    rows = client.get("/mistral/api/models")
    rows = rows.get("models", []) if isinstance(rows, dict) else rows
    return any(row.get("name") == name and "image" in row.get("can", ()) for row in rows)
