"""What a case of the set is, and helpers to write one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

RNG = 7


@dataclass
class Truth:
    """What must be read from a figure. facts: path into `to_dict()` -> value. pitfalls: all kinds. says: parts of the text.

    unread: how many parts cannot be read.
    """

    figure: Any
    facts: dict[str, Any]
    pitfalls: set[str] = field(default_factory=set)
    says: tuple[str, ...] = ()
    unread: int = 0


CASES: dict[str, Callable[[], Truth]] = {}


def case(build: Callable[[], Truth]) -> Callable[[], Truth]:
    CASES[build.__name__] = build
    return build


def plot() -> tuple[Figure, Any]:
    figure = Figure()
    return figure, figure.subplots()


def first(**facts: Any) -> dict[str, Any]:
    """Return the expected facts of the first series of the first panel; `value_max` is `value/max`."""
    return series(0, **facts)


def series(i: int, panel: int = 0, **facts: Any) -> dict[str, Any]:
    nested = ("value_", "place_", "lower_", "upper_", "width_", "colours_", "y_error_", "x_error_")
    paths = {}
    for name, value in facts.items():
        head = next((n for n in nested if name.startswith(n)), "")
        path = f"{head[:-1]}/{name.removeprefix(head)}" if head else name
        paths[f"panels/{panel}/series/{i}/{path}"] = value
    return paths


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(RNG)
    return pd.DataFrame(
        {"kind": ["ash", "birch", "cedar"] * 20, "size": rng.normal(10, 2, 60).round(3), "age": np.arange(60.0)}
    )
