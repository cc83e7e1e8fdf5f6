"""Finds the figures that a question names: the cell that showed them, a variable, or an image file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.images import MAX_IMAGE_BYTES, Image
from ..errors import MistralError
from ..line.subcommands import parse_reference
from .describe import describe
from .history import ShownFigure, history_of, is_figure, last_figure
from .model import Facts
from .reader import class_names

_SPEC_KEYS = {"mark", "layer", "hconcat", "vconcat", "data"}
_IMAGE_FILE = re.compile(r"(?i).+\.(?:png|jpe?g|webp|gif)")
# only to name the type: the host checks the content itself
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg[\s>]|\?xml|!--|!DOCTYPE svg)")
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


@dataclass(frozen=True)
class NamedFigure:
    """A figure that a question is about. render: returns its image, None if it has none."""

    name: str
    facts: Facts
    render: Callable[[], Image | None]


class FigureNames:
    """The names that refer to a figure: variables that contain one, and image files by their extension."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        thing = self._namespace.get(name)
        is_spec = isinstance(thing, dict) and bool(_SPEC_KEYS & thing.keys()) and describe(thing).has_numbers
        is_axes = "_AxesBase" in class_names(thing)
        return is_figure(thing) or is_spec or is_axes or bool(_IMAGE_FILE.fullmatch(name))


def find_figures(words: Sequence[str], shell: Any) -> list[NamedFigure]:
    """Find the figures that `--see` names by prompt number, variable or image file. Raises `MistralError`."""
    figures: list[NamedFigure] = []
    for word in words:
        number = parse_reference(word)
        figures += _require_figures_of_cell(shell, number) if number is not None else [_named(word, shell.user_ns)]
    return figures


def figures_of_cell(shell: Any, number: int) -> list[NamedFigure]:
    """Return the figures that cell In[number] showed; [] if none are kept."""
    history = history_of(shell)
    return [_from_history(figure) for figure in history.of_cell(number)] if history is not None else []


def newest_figure(shell: Any) -> tuple[int, NamedFigure] | None:
    """Return the last figure, and the prompt number of its cell."""
    figure = last_figure(shell)
    return None if figure is None else (figure.number, _from_history(figure))


def _require_figures_of_cell(shell: Any, number: int) -> list[NamedFigure]:
    figures = figures_of_cell(shell, number)
    if not figures:
        kept = sorted({figure.number for figure in history_of(shell) or ()})
        others = f"Cells with figures: {', '.join(map(str, kept))}." if kept else "No cell has shown a figure yet."
        raise MistralError(f"No figure of cell In[{number}] is kept. {others}")
    return figures


def _from_history(figure: ShownFigure) -> NamedFigure:
    name = f"the figure of In[{figure.number}]" if figure.number else "the last figure"
    return NamedFigure(name, figure.facts, lambda: figure.image)


def _named(word: str, namespace: Mapping[str, Any]) -> NamedFigure:
    if word not in namespace:
        return _read_file(word)
    thing = namespace[word]
    if type(thing).__module__.partition(".")[0] == "PIL" and hasattr(thing, "save"):
        facts = describe({"image/png": ""})
        return NamedFigure(word, facts, lambda: _save(lambda file: thing.save(file, format="PNG")))
    facts = describe(thing)
    if facts.figure.source == "unknown":
        type_name = type(thing).__name__
        article = "an" if type_name[:1].lower() in "aeiou" else "a"
        raise MistralError(f"`{word}` is {article} {type_name}, not a figure. Name a figure, a chart or an image.")
    return NamedFigure(word, facts, lambda: _draw(thing))


def _draw(thing: Any) -> Image | None:
    """Draw a matplotlib figure as PNG; other libraries draw in the browser."""
    figure = thing if is_figure(thing) else getattr(thing, "figure", None)
    if figure is None or not hasattr(figure, "savefig"):
        return None
    return _save(lambda file: figure.savefig(file, format="png", bbox_inches="tight"))


def _save(save: Callable[[io.BytesIO], Any]) -> Image:
    buffer = io.BytesIO()
    save(buffer)
    return Image("image/png", buffer.getvalue())


def _read_file(word: str) -> NamedFigure:
    """Read an image file. Its type is recognized by its content, never by its name."""
    if re.match(r"[a-z]{2,}:", word):
        raise MistralError("Images are not downloaded from URLs. Save the image, and name the file.")
    path = Path(word)
    try:
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise MistralError(f"There is no variable or file named {word}.")
        if size > MAX_IMAGE_BYTES:
            raise MistralError(f"{path.name} is larger than {MAX_IMAGE_BYTES >> 20} MB. Save a smaller image.")
        data = path.read_bytes()
    except OSError as error:
        raise MistralError(f"{path.name} could not be read: {error.strerror}.") from None
    mime = _image_type(data)
    if mime is None:
        raise MistralError(f"{path.name} is not a PNG, JPEG, WebP, GIF or SVG image. Save it in one of these formats.")
    image = Image(mime, data)
    return NamedFigure(path.name, describe({mime: ""}), lambda: image)


def _image_type(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if _SVG.match(data[:1000]):
        return "image/svg+xml"
    return next((mime for signature, mime in _SIGNATURES if data.startswith(signature)), None)
