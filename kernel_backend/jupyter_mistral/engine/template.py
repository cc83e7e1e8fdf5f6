"""Messages -> token ids, by the chat template that lies in the model folder, and only that one.

The template is rendered around placeholders. Control tokens come from the template's own words; what users wrote is put
in afterwards and cut by the text tokenizer, so it can never end a turn or start one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from ..protocol import Failure, ToolCall
from .dialect import PROBE_ID, PROBE_NAME, Dialect, dialect_of
from .prompt import Picture, Prompt
from .vocabulary import Vocabulary


class Turn(NamedTuple):
    """A message: content in reading order; the calls that the model asked for, or the call that this is the answer to."""

    role: str
    content: Sequence[str | Picture]
    calls: Sequence[ToolCall] = ()
    call_id: str = ""


_PLACE = re.compile("\ue000([0-9]+)\ue001")


class ChatTemplate:
    """The template of `folder`. `image_token` is the name of the token that stands for a picture, if the model has eyes."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, image_token: str | None) -> None:
        self._vocabulary, self._image_token = vocabulary, image_token
        self._settings = _json(folder / "tokenizer_config.json")
        self._template = _template(folder, self._settings)

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
        texts: list[str] = []
        pictures = [part for turn in given for part in turn.content if isinstance(part, Picture)]
        try:
            rendered = self._render(*self._placed_all(given, tools, texts))
        except TemplateError:
            try:  # many templates insist that user and assistant take turns: join neighbours of one role
                texts.clear()
                rendered = self._render(*self._placed_all(_joined(given), tools, texts))
            except TemplateError as error:
                raise Failure(
                    "bad_request", f"The model takes no such conversation: {error}.", "Reorder the messages."
                ) from None
        return self._assembled(rendered, texts, pictures)

    def _placed_all(
        self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]], texts: list[str]
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        called = {call.id: call.name for turn in turns for call in turn.calls}
        messages = []
        for turn in turns:
            message = _placed(turn, texts)
            if turn.calls:
                message["tool_calls"] = [self._placed_call(call, texts) for call in turn.calls]
            if turn.call_id:
                message |= {"tool_call_id": turn.call_id, "name": called.get(turn.call_id, "")}
            messages.append(message)
        return messages, [self._guarded(tool, texts) for tool in tools]

    def _placed_call(self, call: ToolCall, texts: list[str]) -> dict[str, Any]:
        try:
            arguments = json.loads(call.arguments)
        except (ValueError, RecursionError):
            arguments = call.arguments
        function = {"name": call.name, "arguments": self._guarded(arguments, texts)}
        return {"id": call.id or PROBE_ID, "type": "function", "function": function}

    def _guarded(self, value: Any, texts: list[str]) -> Any:
        """JSON in which words that hold the name of a control token are placeholders, as all words of messages are."""
        if isinstance(value, str):
            if "\ue000" not in value and not self._vocabulary.controls.search(value):
                return value
            texts.append(json.dumps(value, ensure_ascii=False)[1:-1])
            return f"\ue000{len(texts) - 1}\ue001"
        if isinstance(value, Mapping):
            return {self._guarded(str(k), texts): self._guarded(v, texts) for k, v in value.items()}
        return [self._guarded(item, texts) for item in value] if isinstance(value, list) else value

    @cached_property
    def dialect(self) -> Dialect | None:
        """How the template writes function calls; None where it cannot."""
        texts: list[str] = []
        turns = [Turn("user", ["a"]), Turn("assistant", [""], [ToolCall(PROBE_ID, PROBE_NAME, '{"a": 1}')])]
        try:
            return dialect_of(self._render(*self._placed_all(turns, (), texts), ask=False))
        except (TemplateError, Failure, TypeError):
            return None

    @cached_property
    def end(self) -> int | None:
        """The control token that closes an answer, as the template writes it."""
        texts: list[str] = []
        try:
            turns = [Turn("user", ["a"]), Turn("assistant", ["b"])]
            rendered = self._render([_placed(turn, texts) for turn in turns], ask=False)
        except (TemplateError, Failure):
            return None
        tail = rendered.rpartition(f"\ue000{len(texts) - 1}\ue001")[2]
        found = self._vocabulary.controls.search(tail)
        return self._vocabulary.control[found.group()] if found else None

    def _render(self, messages: list[dict[str, Any]], tools: Sequence[Any] = (), ask: bool = True) -> str:
        if self._template is None:
            raise Failure(
                "unsupported", "The model has no chat template: it only completes text.", "Load an instruct model."
            )
        names = {key: _name(self._settings.get(key)) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
        render: Any = render_jinja_template  # its annotations do not tell what it returns
        rendered, _ = render(
            conversations=[messages],
            tools=list(tools) or None,
            chat_template=self._template,
            add_generation_prompt=ask,
            **names,
        )
        return str(rendered[0])

    def _assembled(self, rendered: str, texts: list[str], pictures: list[Picture]) -> Prompt:
        ids: list[int] = []
        placed: list[tuple[int, Picture]] = []
        waiting, text = list(pictures), ""
        for piece in self._vocabulary.controls.split(rendered):
            if piece not in self._vocabulary.control:
                text += _PLACE.sub(lambda match: texts[int(match[1])], piece)
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


def _placed(turn: Turn, texts: list[str]) -> dict[str, Any]:
    """The message with placeholders for its words. White space at the ends stays outside: templates trim it."""
    role, content = turn.role, turn.content
    parts: list[dict[str, str]] = []
    for part in content:
        if isinstance(part, Picture):
            parts.append({"type": "image"})
            continue
        core = part.strip()
        if not core:
            parts.append({"type": "text", "text": part})
            continue
        before, _, after = part.partition(core)
        texts.append(core)
        parts.append({"type": "text", "text": f"{before}\ue000{len(texts) - 1}\ue001{after}"})
    if any(part["type"] == "image" for part in parts):
        return {"role": role, "content": parts}
    return {"role": role, "content": "".join(part["text"] for part in parts)}


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role and not (turn.calls or turn.call_id or joined[-1].calls):
            joined[-1] = Turn(turn.role, [*joined[-1].content, "\n\n", *turn.content])
        else:
            joined.append(turn)
    return joined


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text()
    told = _json(folder / "chat_template.json").get("chat_template") or settings.get("chat_template")
    if isinstance(told, list):
        told = {entry["name"]: entry["template"] for entry in told}.get("default")
    return told if isinstance(told, str) else None


def _name(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}
