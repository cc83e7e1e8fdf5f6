"""Every stated fact on the figures of `figure_set.py` is exact, and the text says nothing that the facts do not hold."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from typing import Any

import figure_set
import matplotlib.pyplot as plt
import pytest
from jupyter_mistral.kernel.figures import describe
from jupyter_mistral.kernel.figures.words.headline import headline, unknown_numbers
from jupyter_mistral.kernel.figures.words.summary import LIMIT, summarize
from jupyter_mistral.kernel.figures.words.terms import num

_NUMBER = re.compile(r"(?<![\w#.\"-])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w\"-])")


def at(data: Any, path: str) -> Any:
    """What stands at `a/0/b`; a list where a number is expected counts its items; KeyError where nothing stands."""
    for part in path.split("/"):
        try:
            data = data[int(part)] if isinstance(data, list) else data[part]
        except (KeyError, IndexError):
            return KeyError
    return data


def same(found: Any, truth: Any) -> bool:
    if isinstance(truth, int) and not isinstance(truth, bool) and isinstance(found, list):
        return len(found) == truth
    if isinstance(truth, list | tuple):
        return isinstance(found, list) and len(found) == len(truth) and all(map(same, found, truth))
    if (
        isinstance(found, bool)
        or isinstance(truth, bool)
        or truth is None
        or found is None
        or isinstance(truth, str | type)
    ):
        return found is truth or (type(found) is type(truth) and found == truth)
    return isinstance(found, int | float) and math.isclose(found, truth, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("name", figure_set.CASES)
def test_every_fact_is_exact_and_the_words_state_nothing_else(name: str) -> None:
    plt.close("all")
    truth = figure_set.CASES[name]()
    facts = describe(truth.figure)
    assert plt.get_fignums() == [], "pyplot keeps no figure of the set for the tests that come after"
    check_facts(facts, truth)
    check_text(facts)
    check_summary(facts)


def check_facts(facts: Any, truth: figure_set.Truth) -> None:
    data, text = facts.to_dict(), str(facts)
    wrong = {p: (at(data, p), v) for p, v in truth.facts.items() if not same(at(data, p), v)}
    assert not wrong, f"path: (found, truth) {wrong}\n{text}"
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
    """The text states only numbers that the facts hold."""
    data = facts.to_dict()
    held = {num(v) for v in values(data) if isinstance(v, int | float) and not isinstance(v, bool)}
    held |= {num(round(100 * v, 4)) for v in values(data) if isinstance(v, float)}  # shares in percent
    held |= {num(round(v, 6)) for v in values(data) if isinstance(v, float)}  # correlations
    said = " ".join(v for v in values(data) if isinstance(v, str))
    body = re.sub(r'"(?:[^"\\]|\\.)*"', "", str(facts).partition("never instructions.")[2])
    stated = [n for line in body.splitlines() for n in _NUMBER.findall(re.sub(r"series \d+|1\.5 IQR", "", line))]
    assert stated
    invented = [n for n in stated if n not in held and n not in said]
    assert not invented, f"{invented}\n{facts}"


def check_summary(facts: Any) -> None:
    """The summary and the sentence are short and state nothing else."""
    summary, sentence = summarize(facts.figure), headline(facts.figure)
    assert unknown_numbers(re.sub(r"\\(.)", r"\1", summary), [facts]) == []
    assert len(summary) <= LIMIT
    assert bool(sentence) == facts.has_numbers
    assert "\n" not in sentence
    for pitfall in facts.to_dict()["pitfalls"]:
        assert re.sub(r"([\\`*_\[\]<>$#|~])", r"\\\1", pitfall["text"]) in summary


def test_a_number_that_was_rounded_is_known_and_an_invented_one_is_not() -> None:
    facts = [describe(figure_set.CASES["line_with_labels"]().figure)]
    assert unknown_numbers("8 at 3, from 2.5; mean 4.0, r 0.63 or 63%, 3.15 to 3.2, and −0.15", facts) == []
    assert unknown_numbers("81 at 3.4, r 0.64, 1,800 or 2e5", facts) == ["81", "3.4", "0.64", "1,800", "2e5"]


def png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


OTHER_LIBRARIES = ("altair", "bokeh", "plotly", "vega")


@pytest.mark.parametrize("name", [name for name in figure_set.CASES if not name.startswith(OTHER_LIBRARIES)])
def test_reading_a_figure_changes_no_pixel_of_it(name: str) -> None:
    figure_set.np.random.seed(0)  # seaborn jitters strips and draws error bars by numpy's own state
    untouched = figure_set.CASES[name]().figure
    figure_set.np.random.seed(0)
    read = figure_set.CASES[name]().figure
    describe(read)
    assert png(read) == png(untouched)


def test_reading_twice_says_the_same() -> None:
    figure = figure_set.CASES["scatter_with_colour_bar"]().figure
    before = str(describe(figure))
    png(figure)
    assert str(describe(figure)) == before
