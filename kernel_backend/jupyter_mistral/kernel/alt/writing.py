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
    extremes = ""
    if isinstance(first.facts.get("value"), Mapping) and "max_at" in first.facts["value"]:
        value = first.facts["value"]
        name = f" of {first.name}" if first.name else ""
        lowest, highest = _at(value["min"], value["min_at"]), _at(value["max"], value["max_at"])
        extremes = f" Lowest value{name}: {lowest}; highest: {highest}."
    elif first.facts.get("top") and first.facts.get("lowest"):
        top, lowest_bar = first.facts["top"][0], first.facts["lowest"]
        extremes = f" Highest: {_at(top[1], top[0])}; lowest: {_at(lowest_bar[1], lowest_bar[0])}."
    elif first.facts.get("peak"):
        low, high, _ = first.facts["peak"]
        extremes = f" The highest bin is from {num(low)} to {num(high)}."
    return f"{headline(facts.figure)}.{extremes}"


def _at(value: Any, position: Any) -> str:
    coordinates = ", ".join(map(num, position)) if isinstance(position, list) else num(position)
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
