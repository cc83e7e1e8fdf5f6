"""Figures in numbers: `describe` reads axes, series, extremes and pitfalls from a figure's own data. Draws nothing, changes nothing.

The plotting libraries are looked at through the objects handed in, never imported here.
"""

from __future__ import annotations

from .describe import describe
from .model import Facts

__all__ = ["Facts", "describe"]
