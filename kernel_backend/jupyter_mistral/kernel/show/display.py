"""An answer while it comes: one output in a notebook, updated in place; text as it comes in a terminal."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol, TextIO

from ...protocol.events import Delta, Event, Loading, Queued, Reading, Usage
from ..ask.formats import Shown, to_bundle
from ..ask.reply import provenance
from .highlight import CONTROL
from .style import frame

HZ = 8.0
_STAGES = {
    "download": "Downloading the model",
    "quantize": "Quantizing to 4 bit",
    "load": "Loading the model",
    "warm": "Warming up",
}


class View(Protocol):
    """Where an answer appears."""

    text: str

    def take(self, event: Event) -> None:
        """Show what has come."""

    def finish(self, shown: Shown, note: str = "") -> None:
        """Show the whole answer; `note` stands before the figures under it."""

    def give_up(self, note: str) -> None:
        """Keep what has come, marked with `note`."""


def progress_of(event: Event) -> tuple[str, float | None]:
    """A sentence and a fraction of 1, where it is known."""
    if isinstance(event, Queued):
        ahead = "1 request is" if event.position == 1 else f"{event.position} requests are"
        return f"Waiting: {ahead} ahead", None
    if isinstance(event, Loading):
        share = "" if event.fraction is None else f" {event.fraction:.0%}"
        return f"{_STAGES[event.stage]}{share}{_left(event.eta_s)}", event.fraction
    if isinstance(event, Reading):
        reused = f", {event.reused:,} of them reused" if event.reused else ""
        fraction = event.done / event.total if event.total else None
        part = f"part {event.part} of {event.parts}, " if event.parts else ""
        return f"Reading {part}{event.done:,} of {event.total:,} tokens{reused}{_left(event.eta_s)}", fraction
    return "", None


def _left(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds) or seconds < 1:
        return ""
    return f", {seconds:.0f} s left" if seconds < 90 else f", {seconds / 60:.0f} min left"


def receipt(usage: Usage) -> list[str]:
    """What an answer cost, in a few words each."""
    parts = [usage.model] if usage.model else []
    if usage.quantization:
        kind = usage.quantization
        parts.append(f"4-bit {kind}" if kind.lower() in ("nf4", "fp4") else kind)
    if usage.time_to_first_token_s:
        parts.append(f"first token {usage.time_to_first_token_s:.2g} s")
    if usage.tokens_per_second:
        parts.append(f"{usage.tokens_per_second:.3g} tokens/s")
    if usage.prompt_tokens:
        reused = f" ({usage.cached_tokens:,} reused)" if usage.cached_tokens else ""
        parts.append(f"{usage.prompt_tokens:,} read{reused}, {usage.completion_tokens:,} written")
    if usage.energy_j:
        parts.append(f"{usage.energy_j:.3g} J")
    return parts


def bar(text: str, fraction: float | None) -> str:
    """A progress bar and its sentence, as HTML."""
    share = (
        ""
        if fraction is None
        else f'<span class="jmi-bar"><span style="width:{min(max(fraction, 0), 1):.1%}"></span></span>'
    )
    return share + escape(text)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the block end before an interrupt that comes meanwhile raises."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


class NotebookView:
    """One display, updated in place at most `hz` times a second."""

    def __init__(
        self, draw: Callable[[str], str], plain: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.text = ""
        self._draw, self._plain, self._clock = draw, plain, clock
        self._handle: Any = None
        self._foot = ""
        self._shown_at = -math.inf

    def take(self, event: Event) -> None:
        if isinstance(event, Delta):
            self.text += event.text
            self._foot = "Answering"
        else:
            sentence, fraction = progress_of(event)
            self._foot = bar(sentence, fraction) if sentence else self._foot
        if self._clock() - self._shown_at >= 1 / HZ:
            self._show(self._live())

    def finish(self, shown: Shown, note: str = "") -> None:
        usage = shown.reply.usage
        figures = "<i>·</i>".join(map(escape, receipt(usage)))
        foot = (
            f'<span class="jmi-warn">{escape(note)}</span>{"<i>·</i>" if figures else ""}{figures}' if note else figures
        )
        if usage.left_out:
            foot += f"<br>Left out to fit: {escape(', '.join(usage.left_out))}"
        self._show(to_bundle(shown.reply, shown.body, foot), {"jupyter_mistral": provenance(shown.reply)})

    def give_up(self, note: str) -> None:
        if self._handle is not None or self.text:
            mark = f'<span class="jmi-warn">{escape(note)}</span>'
            self._show({"text/html": frame(self._draw(self.text), mark), "text/plain": self.text or note})

    def _live(self) -> dict[str, str]:
        if self._plain and self.text:
            return {"text/plain": CONTROL.sub("", self.text)}
        return {"text/html": frame(self._draw(self.text), self._foot, live=True), "text/plain": self.text or "…"}

    def _show(self, bundle: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
        from IPython.display import display

        with uninterrupted():  # an output that is published while its handle is lost would stay for ever as it is
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True, metadata=metadata or {})
            else:
                self._handle.update(bundle, raw=True, metadata=metadata or {})
        self._shown_at = self._clock()


class TerminalView:
    """Text as it comes; progress on one line that is written over, and only where somebody is looking."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.text = ""
        self._out = out or sys.stdout
        self._wide = self._out.isatty()
        self._has_line = False

    def take(self, event: Event) -> None:
        if isinstance(event, Delta):
            self._clear()
            self.text += event.text
            # control codes in a model's text could repaint the terminal
            self._write(CONTROL.sub("", event.text))
        elif self._wide and not self.text:
            self._clear()
            sentence, _ = progress_of(event)
            if sentence:
                self._write(f"\x1b[2m{sentence}\x1b[0m")
                self._has_line = True

    def finish(self, shown: Shown, note: str = "") -> None:
        self._clear()
        usage = shown.reply.usage
        left_out = [f"left out to fit: {', '.join(usage.left_out)}"] if usage.left_out else []
        foot = " · ".join([*([note] if note else []), *receipt(usage), *left_out])
        self._end_line()
        self._write((f"\x1b[2m{foot}\x1b[0m" if self._wide else foot) + "\n")

    def give_up(self, note: str) -> None:
        self._clear()
        if self.text:
            self._end_line()
            self._write(f"({note})\n")

    def _end_line(self) -> None:
        if self.text and not self.text.endswith("\n"):
            self._write("\n")

    def _clear(self) -> None:
        if self._has_line:
            self._write("\r\x1b[2K")
            self._has_line = False

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
