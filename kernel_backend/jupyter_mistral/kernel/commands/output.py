"""Output of the commands: Markdown of ours, and one line of progress that is updated in place."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from IPython.display import display

from ...protocol.events import Loading
from ..errors import Stopped
from ..line.terminal_text import to_plain
from ..session import Session
from ..show.display import HZ, bar, progress_of
from ..show.markdown import to_html
from ..show.style import frame


def show_markdown(session: Session, markdown: str) -> None:
    """Display our own Markdown, as HTML in a notebook and as text in a terminal."""
    if session.is_notebook:
        display({"text/html": frame(to_html(markdown)), "text/plain": markdown.strip()}, raw=True)
    else:
        session.say(to_plain(markdown))


class Progress:
    """One line about a long operation: a bar in a notebook, an overwritten line in a terminal."""

    def __init__(self, is_notebook: bool) -> None:
        self._is_notebook = is_notebook
        self._handle: Any = None
        self._last = -math.inf
        self._stage = ""

    @contextmanager
    def ending_with(self, stopped: str, failed: str) -> Iterator[None]:
        """End the line with `stopped` when the user interrupts the block, with `failed` when it raises anything else."""
        try:
            yield
        except KeyboardInterrupt:
            self.end(stopped)
            raise Stopped from None
        except BaseException:
            self.end(failed)
            raise

    def show_loading(self, event: Loading) -> None:
        now = time.monotonic()
        if now - self._last < 1 / HZ and event.stage == self._stage:
            return
        self._last, self._stage = now, event.stage
        sentence, fraction = progress_of(event)
        self.show(f"{sentence} · {event.detail}" if event.detail else sentence, fraction)

    def show(self, sentence: str, fraction: float | None) -> None:
        self._put(bar(sentence, fraction), sentence, is_live=True)

    def show_figure(self, done: int, total: int, name: str) -> None:
        """Say which figure is next."""
        if done < total:
            sentence = f"Figure {done + 1} of {total}"
            self._put(bar(f"{sentence}: {name}", done / total), sentence, is_live=True)

    def end(self, sentence: str) -> None:
        self._put(escape(sentence), sentence)
        if not self._is_notebook:
            print()

    def _put(self, html: str, text: str, is_live: bool = False) -> None:
        if not self._is_notebook:
            if sys.stdout.isatty():
                print(f"\r\x1b[2K{text}", end="", flush=True)
            elif not is_live:
                print(text, end="")
            return
        bundle = {"text/html": frame("", html, is_live), "text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
