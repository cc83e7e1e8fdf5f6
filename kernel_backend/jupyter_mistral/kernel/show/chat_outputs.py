"""One message of a chat as the outputs of an `Output` widget. Knows no chats and no widgets."""

from __future__ import annotations

from html import escape
from typing import Any

from ...protocol.events import Delta, End
from ...protocol.images import Image
from .chats import Begun, Saved, Told, Turn
from .display import bar, progress_of, receipt
from .markdown import Markdown, to_html
from .style import frame

THUMBNAIL = 160  # pixels of width, as shown
MAX_SHOWN = 2 * 2**20  # bytes of a picture; a widget's state travels whole, to every tab
MARKS = {"interrupted": "interrupted", "failed": "no answer"}

Outputs = tuple[dict[str, Any], ...]


def live(draw: Markdown, text: str, event: Told) -> Outputs:
    """An answer that is still growing."""
    if isinstance(event, (Begun, Saved, Delta, End)):
        return _output(frame(draw(text), "Answering", live=True), text or "…")
    sentence, fraction = progress_of(event)
    return _output(frame(draw(text), bar(sentence, fraction), live=True), text or sentence)


def drawn(turn: Turn) -> Outputs:
    """A stored message: its text, what it cost or why it broke off, its pictures below."""
    foot = [escape(part) for part in receipt(turn.usage)] if turn.usage else []
    if turn.state in MARKS:
        foot.append(f'<span class="jmi-warn">{escape(turn.note or MARKS[turn.state])}</span>')
    shown = [picture for picture in turn.pictures if len(picture.data) <= MAX_SHOWN]
    hidden = len(turn.pictures) - len(shown)
    if hidden:
        foot.append(f"{hidden} large picture{'s' if hidden > 1 else ''}, shown in the side panel")
    body = f'<div class="jmi-asked">{escape(turn.text)}</div>' if turn.role == "user" else to_html(turn.text)
    waiting = turn.state == "streaming"
    text = _output(frame(body, "<i>·</i>".join(foot) or ("Waiting" if waiting else ""), live=waiting), turn.text)
    return (*text, *map(_thumbnail, shown))


def _thumbnail(picture: Image) -> dict[str, Any]:
    data = {picture.mime: picture.to_url().partition(",")[2], "text/plain": "[picture]"}
    return {"output_type": "display_data", "data": data, "metadata": {picture.mime: {"width": THUMBNAIL}}}


def _output(html: str, text: str) -> Outputs:
    # never text/markdown: it is not sanitized in the output of a running session
    return ({"output_type": "display_data", "data": {"text/html": html, "text/plain": text}, "metadata": {}},)
