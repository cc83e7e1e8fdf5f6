"""Messages -> token ids, by the chat template that lies in the model folder, and only that one.

The template is rendered around placeholders. Control tokens come from the template's own words; what users wrote is put
in afterwards and cut by the text tokenizer, so it can never end a turn or start one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from ...chat_template import NO_ID, PLACE, Placed, Turn, joined, names_of, placed, source_of
from ...protocol.conversation import ToolCall
from ...protocol.failures import Failure
from ..decode.prompt import Picture, Prompt
from .dialect import PROBE_NAME, Dialect, dialect_of
from .vocabulary import Vocabulary


class ChatTemplate:
    """The template of `folder`. `image_token` is the name of the token that stands for a picture, if the model has eyes."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, image_token: str | None) -> None:
        self._vocabulary, self._image_token = vocabulary, image_token
        self._template, self._names = source_of(folder), names_of(folder)

    def prompt(
        self, turns: Sequence[Turn | tuple[str, Sequence[str | Picture]]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> Prompt:
        """The whole prompt, up to where the answer starts. Raises `Failure` for turns that the template refuses.

        A last turn of the assistant is the beginning of the answer, as in Mistral's own API: the model goes on from it.
        """
        given = [Turn(*turn) for turn in turns]
        if len(given) > 1 and given[-1].role == "assistant" and not given[-1].calls:
            prompt = self.prompt(given[:-1], tools)
            begun = "".join(part for part in given[-1].content if isinstance(part, str))
            return Prompt(prompt.ids + self._vocabulary.ids(begun), prompt.pictures)
        if tools and self.dialect is None:
            raise Failure(
                "unsupported", "The model's chat template knows no function calls.", "Load a model that calls.", "tools"
            )
        pictures = [part for turn in given for part in turn.content if isinstance(part, Picture)]
        found = placed(given, tools, self._vocabulary.controls)
        try:
            rendered = self._render(found)
        except TemplateError:
            found = placed(joined(given), tools, self._vocabulary.controls)
            try:
                rendered = self._render(found)
            except TemplateError as error:
                raise Failure(
                    "bad_request", f"The model takes no such conversation: {error}.", "Reorder the messages."
                ) from None
        return self._assembled(rendered, found.texts, pictures)

    @cached_property
    def dialect(self) -> Dialect | None:
        """How the template writes function calls; None where it cannot."""
        turns = [Turn("user", ["a"]), Turn("assistant", [""], [ToolCall(NO_ID, PROBE_NAME, '{"a": 1}')])]
        try:
            return dialect_of(self._render(placed(turns, (), self._vocabulary.controls), ask=False))
        except (TemplateError, Failure, TypeError):
            return None

    @cached_property
    def end(self) -> int | None:
        """The control token that closes an answer, as the template writes it."""
        found = placed([Turn("user", ["a"]), Turn("assistant", ["b"])], (), self._vocabulary.controls)
        try:
            rendered = self._render(found, ask=False)
        except (TemplateError, Failure):
            return None
        tail = rendered.rpartition(f"\ue000{len(found.texts) - 1}\ue001")[2]
        closing = self._vocabulary.controls.search(tail)
        return self._vocabulary.control[closing.group()] if closing else None

    def _render(self, given: Placed, ask: bool = True) -> str:
        if self._template is None:
            raise Failure(
                "unsupported", "The model has no chat template: it only completes text.", "Load an instruct model."
            )
        render: Any = render_jinja_template  # its annotations do not tell what it returns
        rendered, _ = render(
            conversations=[given.messages],
            tools=given.tools or None,
            chat_template=self._template,
            add_generation_prompt=ask,
            **self._names,
        )
        return str(rendered[0])

    def _assembled(self, rendered: str, texts: list[str], pictures: list[Picture]) -> Prompt:
        ids: list[int] = []
        placed: list[tuple[int, Picture]] = []
        waiting, text = list(pictures), ""
        for piece in self._vocabulary.controls.split(rendered):
            if piece not in self._vocabulary.control:
                text += PLACE.sub(lambda match: texts[int(match[1])], piece)
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
            raise Failure("unsupported", "The model's chat template has no place for pictures.", "Load a vision model.")
        return Prompt(ids, placed)
