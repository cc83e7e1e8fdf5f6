"""Figures in numbers: `describe` reads axes, series, extremes and pitfalls from a figure's data. Draws and changes nothing.

Never imports a plotting library; it only inspects the objects that it is given.
"""

from __future__ import annotations

from .describe import describe
from .model import Facts

__all__ = ["Facts", "describe"]
