"""Shows an answer while it is generated: one output updated in place in a notebook, streamed text in a terminal."""

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
from .highlight import CONTROL
from .reply import FormattedAnswer, provenance, to_bundle
from .style import frame

HZ = 8.0
_STAGES = {
    "download": "Downloading the model",
    "quantize": "Quantizing to 4-bit",
    "load": "Loading the model",
    "warm": "Warming up",
}


class View(Protocol):
    """Where an answer appears."""

    text: str

    def take(self, event: Event) -> None:
        """Show the next event."""

    def finish(self, answer: FormattedAnswer, note: str = "") -> None:
        """Show the complete answer; `note` precedes the receipt below it."""

    def give_up(self, note: str) -> None:
        """Keep the partial answer, marked with `note`."""


def progress_of(event: Event) -> tuple[str, float | None]:
    """Describe progress as a sentence and a fraction from 0 to 1 (None: unknown)."""
    if isinstance(event, Queued):
        return f"Waiting for {event.position} request{'' if event.position == 1 else 's'}", None
    if isinstance(event, Loading):
        percent = "" if event.fraction is None else f" {event.fraction:.0%}"
        return f"{_STAGES[event.stage]}{percent}{_time_left(event.eta_s)}", event.fraction
    if isinstance(event, Reading):
        cached = f" ({event.reused:,} cached)" if event.reused else ""
        fraction = event.done / event.total if event.total else None
        part = f"part {event.part} of {event.parts}, " if event.parts else ""
        return f"Reading {part}{event.done:,} of {event.total:,} tokens{cached}{_time_left(event.eta_s)}", fraction
    return "", None


def _time_left(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds) or seconds < 1:
        return ""
    return f", {seconds:.0f} s left" if seconds < 90 else f", {seconds / 60:.0f} min left"


def receipt(usage: Usage) -> list[str]:
    """The model and its speed for one answer, in a few words each."""
    parts = [usage.model] if usage.model else []
    if usage.quantization:
        kind = usage.quantization
        parts.append(f"4-bit {kind}" if kind.lower() in ("nf4", "fp4") else kind)
    if usage.time_to_first_token_s:
        parts.append(f"first token {usage.time_to_first_token_s:.2g} s")
    if usage.tokens_per_second:
        parts.append(f"{usage.tokens_per_second:.3g} tokens/s")
    if usage.prompt_tokens:
        cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
        parts.append(f"{usage.prompt_tokens:,} prompt tokens{cached}, {usage.completion_tokens:,} generated")
    if usage.energy_j:
        parts.append(f"{usage.energy_j:.3g} J")
    return parts


def bar(text: str, fraction: float | None) -> str:
    """Build the HTML of a progress bar and its sentence. fraction: None for no bar."""
    if fraction is None:
        return escape(text)
    return f'<span class="jmi-bar"><span style="width:{min(max(fraction, 0), 1):.1%}"></span></span>{escape(text)}'


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Complete the block before an interrupt that arrives meanwhile is raised."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt


class NotebookView:
    """One display, updated in place at most `HZ` times a second."""

    def __init__(
        self, draw: Callable[[str], str], is_plain: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.text = ""
        self._draw, self._is_plain, self._clock = draw, is_plain, clock
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

    def finish(self, answer: FormattedAnswer, note: str = "") -> None:
        reply = answer.reply
        notes = [f'<span class="jmi-warn">{escape(note)}</span>'] if note else []
        foot = "<i>·</i>".join([*notes, *map(escape, receipt(reply.usage))])
        if reply.usage.left_out:
            foot += f"<br>Omitted to fit the context: {escape(', '.join(reply.usage.left_out))}"
        self._show(to_bundle(reply, answer.body, foot), {"jupyter_mistral": provenance(reply)})

    def give_up(self, note: str) -> None:
        if self._handle is not None or self.text:
            mark = f'<span class="jmi-warn">{escape(note)}</span>'
            self._show({"text/html": frame(self._draw(self.text), mark), "text/plain": self.text or note})

    def _live(self) -> dict[str, str]:
        if self._is_plain and self.text:
            return {"text/plain": CONTROL.sub("", self.text)}
        return {"text/html": frame(self._draw(self.text), self._foot, is_live=True), "text/plain": self.text or "…"}

    def _show(self, bundle: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
        from IPython.display import display

        with defer_interrupt():  # an output that is published while its handle is lost could never be updated again
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True, metadata=metadata or {})
            else:
                self._handle.update(bundle, raw=True, metadata=metadata or {})
        self._shown_at = self._clock()


class TerminalView:
    """Streamed text; progress on one line that is overwritten, on interactive terminals only."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.text = ""
        self._out = out or sys.stdout
        self._is_interactive = self._out.isatty()
        self._has_progress_line = False

    def take(self, event: Event) -> None:
        if isinstance(event, Delta):
            self._clear()
            self.text += event.text
            # control codes in a model's text could repaint the terminal
            self._write(CONTROL.sub("", event.text))
        elif self._is_interactive and not self.text:
            self._clear()
            sentence, _ = progress_of(event)
            if sentence:
                self._write(f"\x1b[2m{sentence}\x1b[0m")
                self._has_progress_line = True

    def finish(self, answer: FormattedAnswer, note: str = "") -> None:
        self._clear()
        usage = answer.reply.usage
        omitted = [f"omitted to fit the context: {', '.join(usage.left_out)}"] if usage.left_out else []
        foot = " · ".join([*([note] if note else []), *receipt(usage), *omitted])
        self._end_line()
        self._write((f"\x1b[2m{foot}\x1b[0m" if self._is_interactive else foot) + "\n")

    def give_up(self, note: str) -> None:
        self._clear()
        if self.text:
            self._end_line()
            self._write(f"({note})\n")

    def _end_line(self) -> None:
        if self.text and not self.text.endswith("\n"):
            self._write("\n")

    def _clear(self) -> None:
        if self._has_progress_line:
            self._write("\r\x1b[2K")
            self._has_progress_line = False

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
