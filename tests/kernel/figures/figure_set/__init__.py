"""Figures of every kind with known truth: each case builds a figure and names what must be read from it.

The truth is written as literals or computed here from the data with NumPy, never by the code under test.
"""

from __future__ import annotations

from . import (
    bokeh_plots,
    matplotlib_axes,
    matplotlib_bars,
    matplotlib_fields,
    matplotlib_lines,
    pandas_and_seaborn,
    plotly_charts,
    vega_charts,
)
from .case import CASES, Truth

__all__ = [
    "CASES",
    "Truth",
    "bokeh_plots",
    "matplotlib_axes",
    "matplotlib_bars",
    "matplotlib_fields",
    "matplotlib_lines",
    "pandas_and_seaborn",
    "plotly_charts",
    "vega_charts",
]
