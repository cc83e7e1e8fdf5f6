"""`--see` and `explain` for figures: which one is meant, and what of it goes to the model: its facts, and pixels if it can see."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.conversation import Message
from ...protocol.images import MAX_IMAGE_BYTES, MAX_IMAGES, Image
from ..errors import MistralError
from ..host.client import Client
from ..line.subcommands import parse_reference
from . import Facts, describe
from .history import Seen, is_figure, last_figure, shown_by
from .reader import kinds
from .words.headline import unknown_numbers
from .words.summary import LIMIT, summarize

EXPLAIN = (
    "Explain in plain words what the figure shows: what is compared or followed over what, the trends, what stands out, and whatever "
    "could mislead a reader. The numbers stand in its facts: use those and no others."
)
CHECK = (
    "The facts come from the figure's data, the picture shows how it was drawn. Compare them. End with a line that begins with "
    "“**Contradictions:**” and names each (a legend that names the wrong series, a cropped axis, a label that does not fit), or says none."
)
READ, SHOWS = "Read from the figure’s own data", "**In plain words:** The figure shows "
BLIND = "without its picture, which the model does not see"
_SPEC = {"mark", "layer", "hconcat", "vconcat", "data"}
_PICTURE = re.compile(r"(?i).+\.(?:png|jpe?g|webp|gif)")
# only to name it: the host tells for itself what it is
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg[\s>]|\?xml|!--|!DOCTYPE svg)")
_MARKS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


@dataclass(frozen=True)
class Figure:
    """A figure that is asked about. pixels: makes its picture, None where it has none."""

    name: str
    facts: Facts
    pixels: Callable[[], Image | None]


@dataclass(frozen=True)
class Sight:
    """What of the figures goes along with a question, what the user is told about it, and how the answer begins."""

    facts: tuple[str, ...] = ()
    pictures: tuple[Image, ...] = ()
    instruction: str = ""
    note: str = ""
    opening: str = ""

    def put_into(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """`messages` with the pictures before the text of the last one."""
        *past, asked = messages
        text = f"{asked.text}\n\n{self.instruction}".strip()
        return (*past, Message(asked.role, (*self.pictures, text)))


def look(figures: Sequence[Figure], can_see: bool, explains: bool = False) -> Sight:
    """What of `figures` a model that can or cannot see is given. explains: the answer begins with the numbers themselves.

    Raises `MistralError` where a figure has neither numbers nor, for this model, pixels, and for too many of them.
    """
    if len(figures) > MAX_IMAGES:
        raise MistralError(
            f"{len(figures)} figures are more than the {MAX_IMAGES} of one question. Name fewer of them."
        )
    pictures = []
    for figure in figures:
        picture = figure.pixels() if can_see else None
        if picture is not None:
            pictures.append(picture)
        elif not figure.facts.has_numbers:
            why = "there is no picture of it" if can_see else "the model does not see pictures"
            todo = "" if can_see else " Ask one that does: `%mistral list` says which can."
            raise MistralError(f"No numbers could be read from {figure.name}, and {why}.{todo}")
    facts = tuple(str(figure.facts) for figure in figures if figure.facts.has_numbers)
    opening = _opening([f for f in figures if f.facts.has_numbers], explains, bool(pictures))
    if pictures:
        return Sight(facts, tuple(pictures), CHECK if facts else "", opening=opening)
    note = "The model cannot see pictures" if not can_see else "There is no picture of it"
    return Sight(facts, (), "", f"{note}: it is given the numbers that were read from the figure.", opening)


def _opening(figures: Sequence[Figure], explains: bool, is_seen: bool) -> str:
    """The answer's beginning, which is ours: so its numbers are right and it says what was not seen, whatever the model is."""
    if not figures or (is_seen and not explains):
        return ""
    told = READ if is_seen else f"{READ}, {BLIND}"
    if not explains:
        return f"*{told}.*\n\n"
    parts = [
        (f"{figure.name}:\n\n" if len(figures) > 1 else "") + summarize(figure.facts.figure, LIMIT // len(figures))
        for figure in figures
    ]
    return "\n\n".join([f"*{told}:*", *parts, SHOWS])


def doubt(answer: str, question: str, figures: Sequence[Figure]) -> str:
    """A warning where the answer has numbers that are neither the question's nor any figure's; "" where it has none."""
    facts = [figure.facts for figure in figures if figure.facts.has_numbers]
    if not facts or len(facts) < len(figures):  # what is only seen has no numbers to check against
        return ""
    unknown = [n for n in unknown_numbers(answer, facts) if n not in question]
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"Check these: not among the figure's numbers are {', '.join(unknown[:5])}{more}." if unknown else ""


def can_see(client: Client, model: str | None) -> bool:
    """Whether `model` (None: the one that is loaded, else the default) takes pictures."""
    status = client.get("/mistral/api/status")
    card = status.get("model") or {}
    wanted = model or card.get("name") or status.get("default_model")
    if card.get("name") == wanted:
        return "image" in card.get("can", ())
    rows = client.get("/mistral/api/models")
    rows = rows.get("models", []) if isinstance(rows, dict) else rows
    return any(row.get("name") == wanted and "image" in row.get("can", ()) for row in rows)


class Figures:
    """The names that stand for a figure: variables that hold one, and files of pictures by their ending."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        thing = self._namespace.get(name)
        is_spec = isinstance(thing, dict) and bool(_SPEC & thing.keys()) and describe(thing).has_numbers
        return is_figure(thing) or is_spec or "_AxesBase" in kinds(thing) or bool(_PICTURE.fullmatch(name))


def find(words: Sequence[str], shell: Any) -> list[Figure]:
    """The figures that `--see` names: a prompt number, a variable, or a picture's file. Raises `MistralError`."""
    found: list[Figure] = []
    for word in words:
        number = parse_reference(word)
        found += _of_cell(shell, number) if number is not None else [_named(word, shell.user_ns)]
    return found


def of_cell(shell: Any, number: int) -> list[Figure]:
    """What cell In[number] showed; empty where that was no figure or is forgotten."""
    shown = shown_by(shell)
    return [_of_seen(seen) for seen in shown.of(number)] if shown is not None else []


def newest(shell: Any) -> tuple[int, Figure] | None:
    """The figure that came last, and the prompt number of its cell."""
    seen = last_figure(shell)
    return None if seen is None else (seen.number, _of_seen(seen))


def _of_cell(shell: Any, number: int) -> list[Figure]:
    found = of_cell(shell, number)
    if not found:
        kept = sorted({seen.number for seen in shown_by(shell) or ()})
        there = f"Cells whose figures are kept: {', '.join(map(str, kept))}." if kept else "No cell has shown one yet."
        raise MistralError(f"Cell In[{number}] showed no figure that is still kept. {there}")
    return found


def _of_seen(seen: Seen) -> Figure:
    name = f"the figure of In[{seen.number}]" if seen.number else "the last figure"
    return Figure(name, seen.facts, lambda: seen.picture)


def _named(word: str, namespace: Mapping[str, Any]) -> Figure:
    if word not in namespace:
        return _file(word)
    thing = namespace[word]
    if type(thing).__module__.partition(".")[0] == "PIL" and hasattr(thing, "save"):
        return Figure(word, describe({"image/png": ""}), lambda: _saved(lambda file: thing.save(file, format="PNG")))
    facts = describe(thing)
    if facts.figure.source == "unknown":
        raise MistralError(f"{word} is no figure: it is a {type(thing).__name__}. Take a figure, a chart or a picture.")
    return Figure(word, facts, lambda: _drawn(thing))


def _drawn(thing: Any) -> Image | None:
    """A matplotlib figure as PNG; other libraries draw in the browser."""
    figure = thing if is_figure(thing) else getattr(thing, "figure", None)
    if figure is None or not hasattr(figure, "savefig"):
        return None
    return _saved(lambda file: figure.savefig(file, format="png", bbox_inches="tight"))


def _saved(save: Callable[[io.BytesIO], Any]) -> Image:
    buffer = io.BytesIO()
    save(buffer)
    return Image("image/png", buffer.getvalue())


def _file(word: str) -> Figure:
    """A picture in a file: told by its content, never by its name."""
    if re.match(r"[a-z]{2,}:", word):
        raise MistralError("Pictures are never fetched from an address. Save it, and name the file.")
    path = Path(word)
    try:
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise MistralError(f"There is no variable and no file called {word}.")
        if size > MAX_IMAGE_BYTES:
            raise MistralError(f"{path.name} holds more than {MAX_IMAGE_BYTES >> 20} MB. Save it smaller.")
        data = path.read_bytes()
    except OSError as error:
        raise MistralError(f"{path.name} could not be read: {error.strerror}.") from None
    mime = next((mime for mark, mime in _MARKS if data.startswith(mark)), None)
    if mime is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        mime = "image/webp"
    if mime is None and _SVG.match(data[:1000]):
        mime = "image/svg+xml"
    if mime is None:
        raise MistralError(f"{path.name} is no PNG, JPEG, WebP, GIF or SVG picture. Save it as one of these.")
    picture = Image(mime, data)
    return Figure(path.name, describe({mime: ""}), lambda: picture)
