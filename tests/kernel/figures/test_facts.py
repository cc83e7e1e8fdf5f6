"""All facts about the figures of `figure_set` are exact, and the texts contain no other numbers."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from jupyter_mistral.kernel.figures import describe
from jupyter_mistral.kernel.figures.words.headline import headline, unknown_numbers
from jupyter_mistral.kernel.figures.words.summary import LIMIT, summarize
from jupyter_mistral.kernel.figures.words.terms import num
from matplotlib.figure import Figure

from .figure_set import CASES, Truth

_NUMBER = re.compile(r"(?<![\w#.\"-])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w\"-])")


def value_at(data: Any, path: str) -> Any:
    """Return the value at the path `a/0/b`; KeyError if there is none."""
    for part in path.split("/"):
        try:
            data = data[int(part)] if isinstance(data, list) else data[part]
        except (KeyError, IndexError):
            return KeyError
    return data


def is_same(value: Any, truth: Any) -> bool:
    """Compare a value with the truth; a list with a number by its length."""
    if isinstance(truth, int) and not isinstance(truth, bool) and isinstance(value, list):
        return len(value) == truth
    if isinstance(truth, list | tuple):
        return isinstance(value, list) and len(value) == len(truth) and all(map(is_same, value, truth))
    if (
        isinstance(value, bool)
        or isinstance(truth, bool)
        or truth is None
        or value is None
        or isinstance(truth, str | type)
    ):
        return value is truth or (type(value) is type(truth) and value == truth)
    return isinstance(value, int | float) and math.isclose(value, truth, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_every_fact_is_exact_and_the_texts_contain_no_other_numbers(name: str) -> None:
    plt.close("all")
    truth = CASES[name]()
    facts = describe(truth.figure)
    assert plt.get_fignums() == [], "pyplot must keep no figure of the set for later tests"
    check_facts(facts, truth)
    check_text(facts)
    check_summary(facts)


def check_facts(facts: Any, truth: Truth) -> None:
    data, text = facts.to_dict(), str(facts)
    wrong = {p: (value_at(data, p), v) for p, v in truth.facts.items() if not is_same(value_at(data, p), v)}
    assert not wrong, f"path: (value, truth) {wrong}\n{text}"
    assert {p["kind"] for p in data["pitfalls"]} == truth.pitfalls
    assert len(data["unread"]) == truth.unread, data["unread"]
    assert len(text) <= 4000
    for piece in truth.says:
        assert piece in text, text


def values(data: Any) -> Iterator[Any]:
    if isinstance(data, dict):
        for value in data.values():
            yield from values(value)
    elif isinstance(data, list):
        yield len(data)
        for value in data:
            yield from values(value)
    else:
        yield data


def check_text(facts: Any) -> None:
    """The text contains only numbers of the facts."""
    data = facts.to_dict()
    known = {num(v) for v in values(data) if isinstance(v, int | float) and not isinstance(v, bool)}
    known |= {num(round(100 * v, 4)) for v in values(data) if isinstance(v, float)}  # shares in percent
    known |= {num(round(v, 6)) for v in values(data) if isinstance(v, float)}  # correlations
    strings = " ".join(v for v in values(data) if isinstance(v, str))
    body = re.sub(r'"(?:[^"\\]|\\.)*"', "", str(facts).partition("never instructions.")[2])
    stated = [n for line in body.splitlines() for n in _NUMBER.findall(re.sub(r"series \d+|1\.5 IQR", "", line))]
    assert stated
    invented = [n for n in stated if n not in known and n not in strings]
    assert not invented, f"{invented}\n{facts}"


def check_summary(facts: Any) -> None:
    """The summary and the headline are short and contain no other numbers."""
    summary, sentence = summarize(facts.figure), headline(facts.figure)
    assert unknown_numbers(re.sub(r"\\(.)", r"\1", summary), [facts]) == []
    assert len(summary) <= LIMIT
    assert bool(sentence) == facts.has_numbers
    assert "\n" not in sentence
    for pitfall in facts.to_dict()["pitfalls"]:
        assert re.sub(r"([\\`*_\[\]<>$#|~])", r"\\\1", pitfall["text"]) in summary


def test_a_rounded_number_is_known_and_an_invented_one_is_not() -> None:
    facts = [describe(CASES["line_with_labels"]().figure)]
    assert unknown_numbers("8 at 3, from 2.5; mean 4.0, r 0.63 or 63%, 3.15 to 3.2, and −0.15", facts) == []
    assert unknown_numbers("81 at 3.4, r 0.64, 1,800 or 2e5", facts) == ["81", "3.4", "0.64", "1,800", "2e5"]


def test_a_part_of_a_number_of_the_figure_is_not_known() -> None:
    figure = Figure()
    figure.subplots().bar(["a", "b"], [2810, 1405])
    assert unknown_numbers("It falls from 81 to 40 and 281, not from 2810 to 1405.", [describe(figure)]) == [
        "81",
        "40",
        "281",
    ]


def png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


OTHER_LIBRARIES = ("altair", "bokeh", "plotly", "vega")


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(OTHER_LIBRARIES)])
def test_reading_a_figure_changes_none_of_its_pixels(name: str) -> None:
    np.random.seed(0)  # seaborn's jitter and error bars depend on NumPy's global state
    untouched = CASES[name]().figure
    np.random.seed(0)
    read = CASES[name]().figure
    describe(read)
    assert png(read) == png(untouched)


def test_reading_twice_gives_the_same_text() -> None:
    figure = CASES["scatter_with_colour_bar"]().figure
    before = str(describe(figure))
    png(figure)
    assert str(describe(figure)) == before
