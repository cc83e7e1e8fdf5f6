"""Draws one message of a chat as the outputs of an `Output` widget. Knows no chats and no widgets."""

from __future__ import annotations

from html import escape
from typing import Any, TypeAlias

from ...protocol.events import Delta, End
from ...protocol.images import Image
from .chats import AnswerStarted, ChatEvent, ChatMessage, SaveState
from .display import bar, progress_of, receipt
from .markdown import Markdown, to_html
from .style import frame

THUMBNAIL_WIDTH = 160  # pixels
MAX_IMAGE = 2 * 2**20  # bytes of an image; a widget's state is sent to every tab
NOTES = {"interrupted": "interrupted", "failed": "no answer"}

Outputs: TypeAlias = tuple[dict[str, Any], ...]


def draw_live(draw: Markdown, text: str, event: ChatEvent) -> Outputs:
    """An answer that is being generated."""
    if isinstance(event, (AnswerStarted, SaveState, Delta, End)):
        return _output(frame(draw(text), "Answering", is_live=True), text or "…")
    sentence, fraction = progress_of(event)
    return _output(frame(draw(text), bar(sentence, fraction), is_live=True), text or sentence)


def draw_message(message: ChatMessage) -> Outputs:
    """A stored message: its text, its receipt or the reason why it is incomplete, and its images below."""
    notes = [escape(part) for part in receipt(message.usage)] if message.usage else []
    if message.state in NOTES:
        notes.append(f'<span class="jmi-warn">{escape(message.note or NOTES[message.state])}</span>')
    thumbnails = [image for image in message.images if len(image.data) <= MAX_IMAGE]
    large = len(message.images) - len(thumbnails)
    if large:
        notes.append(f"{large} large image{'s' if large > 1 else ''}, see the side panel")
    is_question = message.role == "user"
    body = f'<div class="jmi-asked">{escape(message.text)}</div>' if is_question else to_html(message.text)
    is_waiting = message.state == "streaming"
    foot = "<i>·</i>".join(notes) or ("Waiting" if is_waiting else "")
    text = _output(frame(body, foot, is_live=is_waiting), message.text)
    return (*text, *map(_thumbnail, thumbnails))


def _thumbnail(image: Image) -> dict[str, Any]:
    data = {image.mime: image.to_url().partition(",")[2], "text/plain": "[image]"}
    return {"output_type": "display_data", "data": data, "metadata": {image.mime: {"width": THUMBNAIL_WIDTH}}}


def _output(html: str, text: str) -> Outputs:
    # never text/markdown: JupyterLab does not sanitize it in the output of a running session
    return ({"output_type": "display_data", "data": {"text/html": html, "text/plain": text}, "metadata": {}},)
