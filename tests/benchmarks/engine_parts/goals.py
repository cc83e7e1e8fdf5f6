"""The goals for the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .shapes import LAYER

Found = Mapping[str, Any]  # section by name: figures by row, by column
_OF_COPY = 0.8


def judged(found: Mapping[str, Any], measures_speed: bool) -> list[dict[str, Any]]:
    """Each goal with the measured value and `met`: true, false, or None if it was not measured."""
    goals: list[tuple[str, float, bool, Callable[[Any], Any]]] = [
        ("tokens/s of a fresh answer at 1k of context", 181, True, lambda f: _best(f["ways"])),
        ("tokens/s where a cell is written anew", 340, True, lambda f: _best(f["edits"])),
        ("times the speed of transformers' generate", 5, True, _against_generate),
        ("times the speed of the best peer at equal bytes", 1.3, True, _against_peer),
        ("131072 tokens of context within 24 GB", 1, True, lambda f: int(f["small-card"]["131072 tokens"]["fits"])),
        ("share of greedy tokens that are the reference's", 1, False, _same),
        ("least share of copy bandwidth, a layer, 1 to 8 rows", _OF_COPY, True, _least_share),
    ]
    figures = {name: section.get("figures", {}) for name, section in found.items()}
    return [_judged(name, goal, of_speed and not measures_speed, read, figures) for name, goal, of_speed, read in goals]


def _judged(name: str, goal: float, is_empty: bool, read: Callable[[Any], Any], figures: Found) -> dict[str, Any]:
    try:
        value = None if is_empty else read(figures)
    except (KeyError, ValueError):  # its section was skipped, or ended early
        value = None
    return {"goal": name, "at least": goal, "measured": value, "met": None if value is None else value >= goal}


def _best(section: Found) -> float:
    return float(max(row["tokens/s"] for row in section.values() if "tokens/s" in row))


def _against_generate(figures: Found) -> float:
    return round(_best(figures["ways"]) / float(figures["ways"]["generate of transformers"]["tokens/s"]), 2)


def _against_peer(figures: Found) -> float:
    """Scales a peer's speed to our number of bytes per step."""
    ours = max((row for row in figures["ways"].values() if "tokens/s" in row), key=lambda row: row["tokens/s"])
    ratios = [
        ours["tokens/s"] / (peer["tokens/s"] * peer["GB a step"] / ours["GB a step"])
        for peer in figures["peer"].values()
    ]
    return round(min(ratios), 2)


def _same(figures: Found) -> float:
    """Share of the tokens before the first difference."""
    greedy = figures["identical"]["greedy"]
    return float(greedy["tokens"] / greedy["of"])


def _least_share(figures: Found) -> float:
    return float(min(figures["kernels"][f"{LAYER}, {m} rows"]["ours, of copy"] for m in (1, 2, 4, 8)))
