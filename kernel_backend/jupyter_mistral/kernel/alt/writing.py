"""One figure's alt text: a plain sentence of ours, exact, and one of the model's where it states no number that the figure lacks."""

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
LONGEST = 420
SENTENCE = 260
SYSTEM = "You write alt text: what a reader who cannot see the figure needs to know. One plain sentence, no Markdown, no list."
QUESTION = "Say in one short sentence what stands out: the trend, the extreme, the comparison. Only numbers of the figure's facts."
SEEN = "Write the alt text of this picture in one sentence of at most 200 characters. If it is a plot, name its kind and axes."
CODE = "This code drew a figure. Write its alt text in one sentence of at most 200 characters: the kind of plot and what is shown."
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.DOTALL)
_NOTHING = re.compile(r"(?i)alt[ -]?text|```|i (?:cannot|can't|am unable|do not)|as an ai|<figure-facts|figure's facts")


@dataclass(frozen=True)
class Known:
    """What there is to write an alt text from."""

    facts: Facts | None
    picture: Image | None
    source: str = ""


def known_of(bundle: Mapping[str, Any], source: str, facts: Facts | None = None) -> Known:
    """What a saved output tells of its figure; `facts` are those that the kernel still has."""
    facts = facts or describe(bundle)
    return Known(facts if facts.has_numbers else None, _picture(bundle), source)


def _picture(bundle: Mapping[str, Any]) -> Image | None:
    for mime in IMAGE_TYPES:
        held = bundle.get(mime)
        if isinstance(held, str):
            try:
                return Image(mime, base64.b64decode(held))
            except (binascii.Error, ValueError):
                return None
    return None


def basis_of(known: Known, can_see: bool) -> Basis | None:
    """What an alt text would rest on; None where there is nothing."""
    if known.facts is not None:
        return "numbers"
    if known.picture is not None and can_see:
        return "pixels"
    return "code" if known.source.strip() else None


def write(client: Client, known: Known, basis: Basis, model: str | None = None) -> str:
    """The alt text; "" where the model had nothing fit to be one. Raises `Failure`."""
    if basis == "numbers":
        assert known.facts is not None
        ours = told(known.facts)
        theirs = _asked(client, model, QUESTION, f"{ours}\n", (str(known.facts),))
        is_right = theirs and not unknown_numbers(theirs, [known.facts]) and theirs.lower() not in ours.lower()
        return _cut(f"{ours} {theirs}" if is_right else ours)
    if basis == "pixels":
        assert known.picture is not None
        return _cut(_asked(client, model, SEEN, picture=known.picture))
    theirs = _asked(client, model, f"```python\n{known.source[:6000]}\n```\n\n{CODE}")
    # a number that the code does not state was made up
    stated = re.findall(r"\d+(?:\.\d+)?", theirs)
    return _cut(theirs) if all(n in known.source for n in stated) else ""


def told(facts: Facts) -> str:
    """Our own sentences: what kind of figure, and the ends of its first series."""
    first = next(series for panel in facts.figure.panels for series in panel.series)
    held = first.facts
    more = ""
    if isinstance(held.get("value"), Mapping) and "max_at" in held["value"]:
        value = held["value"]
        name = f" of {first.name}" if first.name else ""
        more = (
            f" Lowest value{name}: {_at(value['min'], value['min_at'])}; highest: {_at(value['max'], value['max_at'])}."
        )
    elif held.get("top") and held.get("lowest"):
        more = f" Highest: {_at(held['top'][0][1], held['top'][0][0])}; lowest: {_at(held['lowest'][1], held['lowest'][0])}."
    elif held.get("peak"):
        low, high, _ = held["peak"]
        more = f" The highest bin reaches from {num(low)} to {num(high)}."
    return f"{headline(facts.figure)}.{more}"


def _at(value: Any, place: Any) -> str:
    where = ", ".join(map(num, place)) if isinstance(place, list) else num(place)
    return f"{num(value)} at {where}".replace('"', "")


def _asked(
    client: Client,
    model: str | None,
    question: str,
    begun: str = "",
    facts: tuple[str, ...] = (),
    picture: Image | None = None,
) -> str:
    """The model's first sentence, "" where it is none."""
    content = (picture, question) if picture is not None else (question,)
    messages = [Message("system", (SYSTEM,)), Message("user", content)]
    if begun:
        messages.append(Message("assistant", (begun,)))
    request = ChatRequest(
        tuple(messages),
        Sampling(temperature=0.0, max_tokens=90, seed=0),
        model=model,
        extras=Extras(figures=facts, client="magics"),
    )
    with closing(client.stream_chat(request)) as events:  # type: ignore[type-var]  # a generator, which has close()
        text = "".join(event.text for event in events if isinstance(event, Delta))
    return sentence(text)


def sentence(text: str) -> str:
    """The first sentence of an answer, without Markdown; "" where it is no description, as a question is none."""
    text = re.sub(r"[*_`#>|]+", "", text.strip().partition("\n")[0])
    text = " ".join(text.strip("-–• \"'").split())
    found = _SENTENCE.match(text)
    text = found[1] if found else ""
    return "" if _NOTHING.search(text) or text.endswith("?") or not 15 <= len(text) <= SENTENCE else text


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rpartition(" ")[0] + "…"
