"""The state of reading one figure: what is left of its time, and what could not be read. The one broad catch of this room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .measure.columns import Allowance
from .model import Figure, words

T = TypeVar("T")
MAX_UNREAD = 20
MAX_SERIES = 60  # of a panel; the others are counted
MAX_PANELS = 64


@dataclass
class Reading:
    """Handed down through the readers of a figure."""

    figure: Figure
    allowance: Allowance = field(default_factory=Allowance)

    def attempt(self, what: str, read: Callable[..., T], *args: Any) -> T | None:
        """`read(*args)`; where the figure's own objects raise, None, and `what` is listed as unread."""
        try:
            return read(*args)
        except Exception as error:  # a broken artist or a hostile property may raise anything
            self.unread(f"{what} ({words(type(error).__name__, 60)})")
            return None

    def unread(self, what: str) -> None:
        if what not in self.figure.unread and len(self.figure.unread) < MAX_UNREAD:
            self.figure.unread.append(what)


def kinds(thing: object) -> set[str]:
    """Names of its classes and their bases: how a library's object is told without importing the library."""
    return {base.__name__ for base in type(thing).__mro__}


def library(thing: object) -> set[str]:
    """Top packages of its classes and their bases."""
    return {str(base.__module__).partition(".")[0] for base in type(thing).__mro__}
