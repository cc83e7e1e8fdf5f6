"""Writes one figure's alt text: our own exact sentence, and one of the model's unless it states numbers not in the figure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from ...protocol.conversation import Message
from ...protocol.events import Delta
from ...protocol.images import IMAGE_TYPES, Image
from ...protocol.requests import ChatRequest, Extras, Sampling
from ..figures import Facts, describe
from ..figures.facts.bars import Bars, Histogram, Lengths, NamedValues
from ..figures.facts.base import Place, SeriesFacts, Spread
from ..figures.facts.fields import Cells, Grid
from ..figures.facts.points import Density, NumberPoints, Points
from ..figures.model import Series
from ..figures.words.headline import headline, unknown_numbers
from ..figures.words.terms import num
from ..host.client import Client

Basis = Literal["numbers", "pixels", "code"]
MAX_ALT = 420  # characters
MAX_SENTENCE = 260
SYSTEM = "You write alt text: what a reader who cannot see the figure needs to know. One plain sentence, no Markdown, no list."
QUESTION = "Say in one short sentence what stands out: the trend, the extreme, the comparison. Only numbers of the figure's facts."
DESCRIBE_IMAGE = "Write the alt text of this picture in one sentence of at most 200 characters. If it is a plot, name its kind and axes."
DESCRIBE_CODE = "This code drew a figure. Write its alt text in one sentence of at most 200 characters: the kind of plot and what is shown."
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.DOTALL)
_NO_DESCRIPTION = re.compile(
    r"(?i)alt[ -]?text|```|i (?:cannot|can't|am unable|do not)|as an ai|<figure-facts|figure's facts"
)


@dataclass(frozen=True)
class Sources:
    """The numbers, image and code of a figure."""

    facts: Facts | None
    image: Image | None
    source: str = ""


def collect_sources(bundle: Mapping[str, Any], source: str, facts: Facts | None = None) -> Sources:
    """Collect what a saved output contains. facts: those that the kernel still has, if any."""
    facts = facts or describe(bundle)
    return Sources(facts if facts.has_numbers else None, _image(bundle), source)


def _image(bundle: Mapping[str, Any]) -> Image | None:
    for mime in IMAGE_TYPES:
        data = bundle.get(mime)
        if isinstance(data, str):
            try:
                return Image(mime, base64.b64decode(data))
            except (binascii.Error, ValueError):
                return None
    return None


def choose_basis(sources: Sources, can_see: bool) -> Basis | None:
    """The best source for the alt text; None if there is none."""
    if sources.facts is not None:
        return "numbers"
    if sources.image is not None and can_see:
        return "pixels"
    return "code" if sources.source.strip() else None


def write_alt_text(client: Client, sources: Sources, basis: Basis, model: str | None = None) -> str:
    """Write the alt text; "" if the model generated nothing usable. Raises `Failure`."""
    if basis == "numbers":
        assert sources.facts is not None
        ours = describe_numbers(sources.facts)
        theirs = _ask(client, model, QUESTION, f"{ours}\n", (str(sources.facts),))
        adds_facts = theirs and not unknown_numbers(theirs, [sources.facts]) and theirs.lower() not in ours.lower()
        return _shorten(f"{ours} {theirs}" if adds_facts else ours)
    if basis == "pixels":
        assert sources.image is not None
        return _shorten(_ask(client, model, DESCRIBE_IMAGE, image=sources.image))
    theirs = _ask(client, model, f"```python\n{sources.source[:6000]}\n```\n\n{DESCRIBE_CODE}")
    # a number that is not in the code was made up
    stated = re.findall(r"\d+(?:\.\d+)?", theirs)
    return _shorten(theirs) if all(number in sources.source for number in stated) else ""


def describe_numbers(facts: Facts) -> str:
    """Our own sentences: the kind of figure, and the extremes of its first series."""
    first = next(series for panel in facts.figure.panels for series in panel.series)
    return f"{headline(facts.figure)}.{_extremes(first)}"


def _extremes(series: Series) -> str:
    facts = series.facts
    spread, bars = _spread(facts), facts.lengths if isinstance(facts, Bars) else facts
    if spread is not None and spread.min_at is not None and spread.max_at is not None:
        name = f" of {series.name}" if series.name else ""
        lowest, highest = _at(spread.min, spread.min_at), _at(spread.max, spread.max_at)
        return f" Lowest value{name}: {lowest}; highest: {highest}."
    if isinstance(bars, Lengths | NamedValues) and bars.top and bars.lowest is not None:
        top, lowest_bar = bars.top[0], bars.lowest
        return f" Highest: {_at(top.length, top.at)}; lowest: {_at(lowest_bar.length, lowest_bar.at)}."
    if isinstance(facts, Histogram):
        return f" The highest bin is from {num(facts.peak.start)} to {num(facts.peak.end)}."
    return ""


def _spread(facts: SeriesFacts) -> Spread | None:
    """The extremes of the values, if their positions are known."""
    points = facts.points if isinstance(facts, Density) else facts
    if isinstance(points, Points):
        return points.drawn.value if isinstance(points.drawn, NumberPoints) else None
    return facts.value if isinstance(facts, Grid | Cells) else None


def _at(value: Place, position: Place | tuple[Place, ...]) -> str:
    coordinates = ", ".join(map(num, position)) if isinstance(position, tuple) else num(position)
    return f"{num(value)} at {coordinates}".replace('"', "")


def _ask(
    client: Client,
    model: str | None,
    question: str,
    prefill: str = "",
    facts: tuple[str, ...] = (),
    image: Image | None = None,
) -> str:
    """Ask the model and return its first sentence; "" if that is not a description."""
    content = (image, question) if image is not None else (question,)
    messages = [Message("system", (SYSTEM,)), Message("user", content)]
    if prefill:
        messages.append(Message("assistant", (prefill,)))
    request = ChatRequest(
        tuple(messages),
        Sampling(temperature=0.0, max_tokens=90, seed=0),
        model=model,
        extras=Extras(figures=facts, client="magics"),
    )
    with closing(client.stream_chat(request)) as events:  # type: ignore[type-var]  # a generator, which has close()
        text = "".join(event.text for event in events if isinstance(event, Delta))
    return first_sentence(text)


def first_sentence(text: str) -> str:
    """The first sentence of an answer, without Markdown; "" if it does not describe anything, such as a question."""
    text = re.sub(r"[*_`#>|]+", "", text.strip().partition("\n")[0])
    text = " ".join(text.strip("-–• \"'").split())
    match = _SENTENCE.match(text)
    text = match[1] if match else ""
    return "" if _NO_DESCRIPTION.search(text) or text.endswith("?") or not 15 <= len(text) <= MAX_SENTENCE else text


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_ALT else text[: MAX_ALT - 1].rpartition(" ")[0] + "…"
