"""Turns messages into token ids with the model's chat template.

Control tokens come from the template alone. What users wrote is inserted afterwards and tokenized as plain text, so it can
never end or start a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...protocol.conversation import ToolCall
from ...protocol.failures import Failure
from ...tokenizer.chat_template import NO_ID, PLACEHOLDER, ChatTemplate, Rendered, Turn
from ..prompt import PreparedImage, Prompt
from .dialect import PROBE_NAME, Dialect, dialect_of
from .vocabulary import Vocabulary


class PromptTokenizer:
    """The chat template of `folder`, tokenized. image_token: name of the token that stands for an image, None without vision."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, image_token: str | None) -> None:
        self._vocabulary, self._image_token = vocabulary, image_token
        self._template = ChatTemplate(folder, vocabulary.controls)

    def prompt(
        self,
        messages: Sequence[Turn | tuple[str, Sequence[str | PreparedImage]]],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Prompt:
        """The prompt up to where the answer starts. Raises `Failure` for a conversation that the template rejects.

        If the last message is the assistant's, the answer continues it, as in Mistral's API.
        """
        turns = [Turn(*message) for message in messages]
        if len(turns) > 1 and turns[-1].role == "assistant" and not turns[-1].calls:
            prompt = self.prompt(turns[:-1], tools)
            start = "".join(part for part in turns[-1].content if isinstance(part, str))
            return Prompt(prompt.ids + self._vocabulary.ids(start), prompt.images)
        if tools and self.dialect is None:
            message = "The model's chat template does not support function calls."
            raise Failure("unsupported", message, "Load a model that does.", "tools")
        images = [part for turn in turns for part in turn.content if isinstance(part, PreparedImage)]
        return self._tokenized(self._template.render(turns, tools), images)

    @cached_property
    def dialect(self) -> Dialect | None:
        """How the template writes function calls, None if it cannot."""
        turns = [Turn("user", ["a"]), Turn("assistant", [""], [ToolCall(NO_ID, PROBE_NAME, '{"a": 1}')])]
        try:
            return dialect_of(self._template.render(turns, add_generation_prompt=False).text)
        except (Failure, TypeError):
            return None

    @cached_property
    def end(self) -> int | None:
        """The control token after an answer, as the template writes it."""
        turns = [Turn("user", ["a"]), Turn("assistant", ["b"])]
        try:
            rendered = self._template.render(turns, add_generation_prompt=False)
        except Failure:
            return None
        tail = rendered.text.rpartition(f"\ue000{len(rendered.texts) - 1}\ue001")[2]
        closing = self._vocabulary.controls.search(tail)
        return self._vocabulary.control[closing.group()] if closing else None

    def _tokenized(self, rendered: Rendered, images: list[PreparedImage]) -> Prompt:
        ids: list[int] = []
        placed: list[tuple[int, PreparedImage]] = []
        waiting, text = list(images), ""
        for piece in self._vocabulary.controls.split(rendered.text):
            if piece not in self._vocabulary.control:
                text += PLACEHOLDER.sub(lambda match: rendered.texts[int(match[1])], piece)
                continue
            ids += self._vocabulary.ids(text)
            text = ""
            if piece == self._image_token and waiting:
                placed.append((len(ids), waiting[0]))
                ids += waiting.pop(0).ids
            else:
                ids.append(self._vocabulary.control[piece])
        ids += self._vocabulary.ids(text)
        if waiting:
            message = "The model's chat template has no place for images."
            raise Failure("unsupported", message, "Load a vision model.")
        return Prompt(ids, placed)
