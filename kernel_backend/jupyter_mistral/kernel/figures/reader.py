"""The state of reading one figure: its remaining allowance, and what could not be read. Has this room's only broad catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .measure.columns import Allowance
from .model import Figure, clean_text

T = TypeVar("T")
MAX_UNREAD = 20
MAX_SERIES = 60  # per panel; the others are only counted
MAX_PANELS = 64


@dataclass
class Reading:
    """Passed down through the readers of a figure."""

    figure: Figure
    allowance: Allowance = field(default_factory=Allowance)

    def attempt(self, what: str, read: Callable[..., T], *args: Any) -> T | None:
        """Return `read(*args)`. If the figure's own objects raise, return None and list `what` as unread."""
        try:
            return read(*args)
        except Exception as error:  # a broken artist or a hostile property may raise anything
            self.unread(f"{what} ({clean_text(type(error).__name__, 60)})")
            return None

    def unread(self, what: str) -> None:
        if what not in self.figure.unread and len(self.figure.unread) < MAX_UNREAD:
            self.figure.unread.append(what)


def class_names(thing: object) -> set[str]:
    """Return the names of its classes and their bases: recognizes a library's object without importing the library."""
    return {base.__name__ for base in type(thing).__mro__}


def packages_of(thing: object) -> set[str]:
    """Return the top-level packages of its classes and their bases."""
    return {str(base.__module__).partition(".")[0] for base in type(thing).__mro__}
