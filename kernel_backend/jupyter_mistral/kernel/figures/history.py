"""The figures that this kernel has shown. Each is read when it is displayed, because the inline backend closes it afterwards.

IPython calls every formatter for each displayed object, also for `plt.show()` in the middle of a cell. Our formatter returns
nothing and reads the figure. The images come from the messages that leave the kernel; a terminal sends none.
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
from .reader import class_names, packages_of

KEPT = 20
MAX_IMAGE_BYTES = 32 * 2**20  # of all kept images, after decoding base64
MIME = "application/vnd.jupyter-mistral.seen+json"
_SPECS = ("application/vnd.plotly.", "application/vnd.vega")


@dataclass(frozen=True)
class ShownFigure:
    """One figure. number: the prompt number of the cell that showed it, 0 if none did. image: if the kernel sent one."""

    number: int
    facts: Facts
    image: Image | None = None


class FigureHistory:
    """The last `KEPT` figures that were displayed, the newest last."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._figures: list[ShownFigure] = []
        self._newest: Any = None  # a weak reference to this cell's last figure: recognizes a second display of it
        self._awaits_image = False

    def __iter__(self) -> Iterator[ShownFigure]:
        return iter(self._figures)

    @property
    def last(self) -> ShownFigure | None:
        return self._figures[-1] if self._figures else None

    def of_cell(self, number: int) -> list[ShownFigure]:
        """Return the figures that cell In[number] showed."""
        return [figure for figure in self._figures if figure.number == number]

    def facts_of_image(self, data: bytes) -> Facts | None:
        """Return the facts of the newest figure that was shown as exactly this image."""
        for figure in reversed(self._figures):
            if figure.image is not None and figure.image.data == data:
                return figure.facts
        return None

    def ending_with(self, end: str) -> list[ShownFigure]:
        """Return the newest figure whose image ends with `end` in base64, as it does in a page; [] if there is none."""
        data = base64.b64decode(end)
        matches = [f for f in self._figures if f.image is not None and f.image.data.endswith(data)]
        return matches[-1:]

    @property
    def _number(self) -> int:
        """The running cell's prompt number. Some IPython versions increase `execution_count` before it, others after."""
        return len(self._shell.history_manager.input_hist_raw) - 1

    def before_cell(self, info: Any) -> None:
        """Called by IPython."""
        self._newest, self._awaits_image = None, False

    def record(self, thing: Any) -> None:
        """Read an object that is about to be displayed, if it is a figure. A second display in a cell replaces the first."""
        if not is_figure(thing):
            return
        facts = describe(thing)
        is_again = self._newest is not None and self._newest() is thing
        self._newest, self._awaits_image = weakref.ref(thing), True
        if is_again:
            self._figures[-1] = replace(self._figures[-1], facts=facts)
        else:
            self._add(ShownFigure(self._number, facts))

    def record_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Keep the image of a message that leaves the kernel: for the figure just read, or as a figure of its own."""
        data = message.get("content", {}).get("data")
        if isinstance(data, Mapping) and message.get("msg_type", "display_data") != "update_display_data":
            self._record_bundle(data)
        return message

    def _record_bundle(self, data: Mapping[str, Any]) -> None:
        image = _image(data)
        has_spec = any(str(mime).startswith(_SPECS) for mime in data)
        last = self.last
        if self._awaits_image and last is not None:
            if image is not None:
                self._figures[-1] = replace(last, image=image)
                self._forget()
        elif has_spec or image is not None:
            self._add(ShownFigure(self._number, describe(data), image))
        self._awaits_image = False

    def _add(self, figure: ShownFigure) -> None:
        self._figures.append(figure)
        self._forget()

    def _forget(self) -> None:
        """Drop old figures, and old images beyond `MAX_IMAGE_BYTES`."""
        del self._figures[:-KEPT]
        room = MAX_IMAGE_BYTES
        for i in range(len(self._figures) - 1, -1, -1):
            image = self._figures[i].image
            room -= len(image.data) if image is not None else 0
            if room < 0:
                self._figures[i] = replace(self._figures[i], image=None)


def _image(data: Mapping[str, Any]) -> Image | None:
    for mime in IMAGE_TYPES:
        content = data.get(mime)
        if isinstance(content, str):
            try:
                return Image(mime, base64.b64decode(content))
            except (binascii.Error, ValueError):
                return None
        if isinstance(content, bytes):
            return Image(mime, content)
    return None


class _Watcher(BaseFormatter):
    """A formatter that formats nothing: it only records."""

    format_type = MIME

    def __init__(self, history: FigureHistory, **settings: Any) -> None:
        super().__init__(**settings)
        self.history = history

    def __call__(self, obj: Any) -> None:
        self.history.record(obj)

    def lookup(self, obj: Any) -> Any:
        raise KeyError


def install(shell: Any) -> FigureHistory:
    """Record the figures that `shell` displays from now on. A second call returns the same history."""
    existing = history_of(shell)
    if existing is not None:
        return existing
    history = FigureHistory(shell)
    shell.display_formatter.formatters[MIME] = _Watcher(history, parent=shell.display_formatter)
    shell.events.register("pre_run_cell", history.before_cell)
    for publisher in (shell.display_pub, shell.displayhook):
        if hasattr(publisher, "register_hook"):  # only kernels send messages
            publisher.register_hook(history.record_message)
    return history


def uninstall(shell: Any) -> None:
    """Undo `install` and forget the figures."""
    history = history_of(shell)
    if history is None:
        return
    del shell.display_formatter.formatters[MIME]
    shell.events.unregister("pre_run_cell", history.before_cell)
    for publisher in (shell.display_pub, shell.displayhook):
        if hasattr(publisher, "unregister_hook"):
            publisher.unregister_hook(history.record_message)


def history_of(shell: Any) -> FigureHistory | None:
    watcher = shell.display_formatter.formatters.get(MIME)
    return watcher.history if isinstance(watcher, _Watcher) else None


def last_figure(shell: Any) -> ShownFigure | None:
    """Return the figure that was displayed last, else pyplot's current figure, else the newest variable with a figure."""
    history = history_of(shell)
    if history is not None and history.last is not None:
        return history.last
    pylab = sys.modules.get("matplotlib._pylab_helpers")
    manager = pylab.Gcf.get_active() if pylab is not None else None
    if manager is not None:
        return ShownFigure(0, describe(manager.canvas.figure))
    for name in reversed(list(shell.user_ns)):
        if not name.startswith("_") and is_figure(shell.user_ns[name]):
            return ShownFigure(0, describe(shell.user_ns[name]))
    return None


def is_figure(thing: Any) -> bool:
    """Return whether it is a figure or chart of a known library. Inspects only its classes."""
    packages, names = packages_of(thing), class_names(thing)
    if "matplotlib" in packages:
        return "FigureBase" in names
    if "plotly" in packages:
        return "BaseFigure" in names
    if "altair" in packages:
        return "TopLevelMixin" in names
    return ("seaborn" in packages and "Grid" in names) or ("bokeh" in packages and bool({"Plot", "LayoutDOM"} & names))
