"""Small random plots of six kinds, drawn with matplotlib, that a model is trained to distinguish and tested on.

The same seed draws the same plot. The held-out plots have seeds, colours, style sheets and line widths that training never uses.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

SIDE = 112  # pixels: 8 x 8 patches, 4 x 4 tokens
QUESTION = "Which kind of plot?"
TRAINING = {"styles": ("default", "ggplot", "bmh"), "maps": ("viridis", "gray", "coolwarm", "plasma", "Blues")}
HELD_OUT = {"styles": ("seaborn-v0_8-darkgrid", "fivethirtyeight"), "maps": ("inferno", "YlGn", "PuOr")}


def _bar(ax: Any, rng: np.random.Generator, colours: str) -> None:
    n = int(rng.integers(3, 9))
    draw = ax.bar if rng.random() < 0.7 else ax.barh
    draw([f"{c}" for c in "abcdefgh"[:n]], rng.uniform(1, 10, n), rng.uniform(0.45, 0.75), color=_colour(rng, colours))


def _line(ax: Any, rng: np.random.Generator, colours: str) -> None:
    for _ in range(rng.integers(1, 4)):
        n = int(rng.integers(8, 60))
        ax.plot(rng.normal(size=n).cumsum(), color=_colour(rng, colours), lw=rng.uniform(1, 2.5))


def _scatter(ax: Any, rng: np.random.Generator, colours: str) -> None:
    n = int(rng.integers(15, 90))
    x = rng.normal(size=n)
    ax.scatter(x, rng.uniform(-2, 2) * x + rng.normal(size=n), rng.uniform(8, 40), color=_colour(rng, colours))


def _pie(ax: Any, rng: np.random.Generator, colours: str) -> None:
    n = int(rng.integers(2, 8))
    hole = {"width": 0.5} if rng.random() < 0.25 else None
    ax.pie(
        rng.uniform(1, 5, n),
        startangle=rng.uniform(0, 360),
        wedgeprops=hole,
        colors=mpl.colormaps[colours](np.linspace(0.1, 0.9, n)),
    )


def _heatmap(ax: Any, rng: np.random.Generator, colours: str) -> None:
    shape = rng.integers(4, 16, 2)
    ax.imshow(rng.normal(size=shape), cmap=colours, aspect="auto")


def _histogram(ax: Any, rng: np.random.Generator, colours: str) -> None:
    data = rng.normal(size=300) if rng.random() < 0.6 else rng.exponential(size=300)
    ax.hist(data, bins=int(rng.integers(12, 30)), color=_colour(rng, colours))


DRAW: dict[str, Callable[[Any, np.random.Generator, str], None]] = {
    "bar": _bar,
    "line": _line,
    "scatter": _scatter,
    "pie": _pie,
    "heatmap": _heatmap,
    "histogram": _histogram,
}
KINDS = tuple(DRAW)


def _colour(rng: np.random.Generator, colours: str) -> Any:
    return 0.75 * np.array(mpl.colormaps[colours](rng.uniform(0.1, 0.8))[:3])  # darkened, so that none is white


def draw(kind: str, seed: int, variants: dict[str, tuple[str, ...]] = TRAINING) -> bytes:
    """Draw a plot as a PNG of SIDE x SIDE pixels. variants: the styles and colour maps to choose from."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    with mpl.rc_context(), matplotlib.style.context(variants["styles"][rng.integers(len(variants["styles"]))]):
        figure = Figure(figsize=(SIDE / 50, SIDE / 50), dpi=50)
        ax = figure.add_axes((0.18, 0.18, 0.76, 0.72))
        DRAW[kind](ax, rng, variants["maps"][rng.integers(len(variants["maps"]))])
        if rng.random() < 0.5:
            ax.set_title("".join(rng.choice(list("abcdefg "), 8)), fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
