"""What this kernel showed: the facts of each figure, read as it is displayed, because the inline backend closes figures right after.

IPython asks every formatter for every object that it displays, `plt.show()` in the middle of a cell included: ours answers
nothing and reads the figure. The pictures come from the messages that leave the kernel; a terminal sends none.
"""

from __future__ import annotations

import base64
import binascii
import sys
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from IPython.core.formatters import BaseFormatter

from ...protocol.images import IMAGE_TYPES, Image
from .describe import describe
from .model import Facts
from .reader import kinds, library

KEPT = 20
MAX_PICTURES = 32 * 2**20  # bytes of all pictures kept, base64 undone
MIME = "application/vnd.jupyter-mistral.seen+json"
_SPECS = ("application/vnd.plotly.", "application/vnd.vega")


@dataclass(frozen=True)
class Seen:
    """One figure: the prompt number of the cell that showed it (0: none did), its facts, its pixels where the kernel sent them."""

    number: int
    facts: Facts
    picture: Image | None = None


class Shown:
    """The last `KEPT` figures that were displayed, the newest last."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._seen: list[Seen] = []
        self._newest: Any = None  # weak: what was read last in this cell, to tell a second display of it
        self._awaits_picture = False

    def __iter__(self) -> Iterator[Seen]:
        return iter(self._seen)

    @property
    def last(self) -> Seen | None:
        return self._seen[-1] if self._seen else None

    def of(self, number: int) -> list[Seen]:
        """The figures that cell In[number] showed."""
        return [seen for seen in self._seen if seen.number == number]

    def of_picture(self, data: bytes) -> Facts | None:
        """The numbers of the newest figure that was shown as exactly this picture."""
        for seen in reversed(self._seen):
            if seen.picture is not None and seen.picture.data == data:
                return seen.facts
        return None

    def ending(self, end: str) -> list[Seen]:
        """The newest figure whose picture ends so in base64, where there is one: told by its pixels, as pages hold them."""
        last = base64.b64decode(end)
        found = [s for s in self._seen if s.picture is not None and s.picture.data.endswith(last)]
        return found[-1:]

    @property
    def _number(self) -> int:
        """The running cell's prompt number; IPython counts `execution_count` up before or after it, by version."""
        return len(self._shell.history_manager.input_hist_raw) - 1

    def before_cell(self, info: Any) -> None:
        """IPython calls this."""
        self._newest, self._awaits_picture = None, False

    def take(self, thing: Any) -> None:
        """An object is about to be displayed: if it is a figure, it is read. The same one twice in a cell is read again."""
        if not is_figure(thing):
            return
        facts = describe(thing)
        again = self._newest is not None and self._newest() is thing
        self._newest, self._awaits_picture = weakref.ref(thing), True
        if again:
            self._seen[-1] = replace(self._seen[-1], facts=facts)
        else:
            self._add(Seen(self._number, facts))

    def take_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message leaves the kernel: its picture goes to the figure that was just read, or stands for itself."""
        data = message.get("content", {}).get("data")
        if isinstance(data, Mapping) and message.get("msg_type", "display_data") != "update_display_data":
            self._take_bundle(data)
        return message

    def _take_bundle(self, data: Mapping[str, Any]) -> None:
        picture = _picture(data)
        spec = next((mime for mime in data if str(mime).startswith(_SPECS)), None)
        last = self.last
        if self._awaits_picture and last is not None:
            if picture is not None:
                self._seen[-1] = replace(last, picture=picture)
                self._forget()
        elif spec is not None or picture is not None:
            self._add(Seen(self._number, describe(data), picture))
        self._awaits_picture = False

    def _add(self, seen: Seen) -> None:
        self._seen.append(seen)
        self._forget()

    def _forget(self) -> None:
        del self._seen[:-KEPT]
        room = MAX_PICTURES
        for i in range(len(self._seen) - 1, -1, -1):
            picture = self._seen[i].picture
            room -= len(picture.data) if picture is not None else 0
            if room < 0:
                self._seen[i] = replace(self._seen[i], picture=None)


def _picture(data: Mapping[str, Any]) -> Image | None:
    for mime in IMAGE_TYPES:
        held = data.get(mime)
        if isinstance(held, str):
            try:
                return Image(mime, base64.b64decode(held))
            except (binascii.Error, ValueError):
                return None
        if isinstance(held, bytes):
            return Image(mime, held)
    return None


class _Watcher(BaseFormatter):
    """A formatter that has no format: it only looks."""

    format_type = MIME

    def __init__(self, shown: Shown, **settings: Any) -> None:
        super().__init__(**settings)
        self.shown = shown

    def __call__(self, obj: Any) -> None:
        self.shown.take(obj)

    def lookup(self, obj: Any) -> Any:
        raise KeyError


def install(shell: Any) -> Shown:
    """From now on, keep what `shell` displays. A second time gives what is there."""
    there = shown_by(shell)
    if there is not None:
        return there
    shown = Shown(shell)
    shell.display_formatter.formatters[MIME] = _Watcher(shown, parent=shell.display_formatter)
    shell.events.register("pre_run_cell", shown.before_cell)
    for publisher in (shell.display_pub, shell.displayhook):
        if hasattr(publisher, "register_hook"):  # only kernels send messages
            publisher.register_hook(shown.take_message)
    return shown


def uninstall(shell: Any) -> None:
    """Take out what `install` put in, and forget what was kept."""
    shown = shown_by(shell)
    if shown is None:
        return
    del shell.display_formatter.formatters[MIME]
    shell.events.unregister("pre_run_cell", shown.before_cell)
    for publisher in (shell.display_pub, shell.displayhook):
        if hasattr(publisher, "unregister_hook"):
            publisher.unregister_hook(shown.take_message)


def shown_by(shell: Any) -> Shown | None:
    watcher = shell.display_formatter.formatters.get(MIME)
    return watcher.shown if isinstance(watcher, _Watcher) else None


def last_figure(shell: Any) -> Seen | None:
    """The figure that was displayed last; else pyplot's current one; else the newest variable that is one."""
    shown = shown_by(shell)
    if shown is not None and shown.last is not None:
        return shown.last
    pylab = sys.modules.get("matplotlib._pylab_helpers")
    manager = pylab.Gcf.get_active() if pylab is not None else None
    if manager is not None:
        return Seen(0, describe(manager.canvas.figure))
    for name in reversed(list(shell.user_ns)):
        if not name.startswith("_") and is_figure(shell.user_ns[name]):
            return Seen(0, describe(shell.user_ns[name]))
    return None


def figure_of(namespace: Mapping[str, Any], name: str) -> Facts | None:
    """The facts of the variable `name`; None where there is none or it is no figure."""
    if name not in namespace:
        return None
    facts = describe(namespace[name])
    return facts if facts.figure.source != "unknown" else None


def is_figure(thing: Any) -> bool:
    """Whether it is a figure or chart of a library that is known. Looks at its classes only."""
    where, names = library(thing), kinds(thing)
    if "matplotlib" in where:
        return "FigureBase" in names
    if "plotly" in where:
        return "BaseFigure" in names
    if "altair" in where:
        return "TopLevelMixin" in names
    return ("seaborn" in where and "Grid" in names) or ("bokeh" in where and bool({"Plot", "LayoutDOM"} & names))
