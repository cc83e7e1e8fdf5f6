"""Messages -> the text of a whole prompt, by the chat template of a model folder, without torch: the engine's twin.

The engine's own (`engine/template.py`) gives token ids; this one the words around placeholders, so that a prompt can be
counted where no engine is. A test holds the two together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol import Failure, Image, Message, ToolCall

if TYPE_CHECKING:
    from jinja2 import Template


# the engine's own for a call that came without one: nine letters and digits, on which templates of Mistral's insist
NO_ID = "aB3dE6gH9"


class ChatTemplate:
    """The template that lies in `folder`; without one the texts simply follow each other. controls: matches control tokens."""

    def __init__(self, folder: Path, controls: re.Pattern[str]) -> None:
        self._folder, self._controls = folder, controls

    def rendered(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[str, list[str]]:
        """The prompt's words with a placeholder `\\ue000N\\ue001` for each text, and the texts. Raises `bad_request`."""
        from jinja2 import TemplateError

        texts: list[str] = []
        try:
            return self._render(*self._placed_all(messages, tools, texts)), texts
        except TemplateError:
            pass
        texts.clear()
        try:  # many templates insist that user and assistant take turns
            return self._render(*self._placed_all(_joined(messages), tools, texts)), texts
        except TemplateError as error:
            raise Failure(
                "bad_request", f"The model takes no such conversation: {error}.", "Reorder the messages."
            ) from None

    def _placed_all(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], texts: list[str]
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        called = {call.id: call.name for m in messages for call in m.tool_calls}
        placed = []
        for message in messages:
            one = _placed(message, texts)
            if message.tool_calls:
                one["tool_calls"] = [self._placed_call(call, texts) for call in message.tool_calls]
            if message.tool_call_id:
                one |= {"tool_call_id": message.tool_call_id, "name": called.get(message.tool_call_id, "")}
            placed.append(one)
        return placed, [self._guarded(tool, texts) for tool in tools]

    def _placed_call(self, call: ToolCall, texts: list[str]) -> dict[str, Any]:
        try:
            arguments = json.loads(call.arguments)
        except (ValueError, RecursionError):
            arguments = call.arguments
        function = {"name": call.name, "arguments": self._guarded(arguments, texts)}
        return {"id": call.id or NO_ID, "type": "function", "function": function}

    def _guarded(self, value: Any, texts: list[str]) -> Any:
        """JSON in which words that hold the name of a control token are placeholders, as all words of messages are."""
        if isinstance(value, str):
            if "\ue000" not in value and not self._controls.search(value):
                return value
            texts.append(json.dumps(value, ensure_ascii=False)[1:-1])
            return f"\ue000{len(texts) - 1}\ue001"
        if isinstance(value, Mapping):
            return {self._guarded(str(k), texts): self._guarded(v, texts) for k, v in value.items()}
        return [self._guarded(item, texts) for item in value] if isinstance(value, list) else value

    def _render(self, messages: list[dict[str, Any]], tools: Sequence[Any]) -> str:
        if self._template is None:
            return "".join(_text(m["content"]) for m in messages)
        names = {key: _name(self._settings.get(key)) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
        return self._template.render(
            messages=messages, tools=list(tools) or None, documents=None, add_generation_prompt=True, **names
        )

    @cached_property
    def _template(self) -> Template | None:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise TemplateError(message)

        source = self._source()
        if source is None:
            return None
        # as transformers sets it up for every model
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
        return environment.from_string(source)

    def _source(self) -> str | None:
        file = self._folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        told = read_json(self._folder / "chat_template.json").get("chat_template") or self._settings.get(
            "chat_template"
        )
        if isinstance(told, list):
            told = {entry["name"]: entry["template"] for entry in told}.get("default")
        return told if isinstance(told, str) else None

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return read_json(self._folder / "tokenizer_config.json")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is no file."""
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _placed(message: Message, texts: list[str]) -> dict[str, Any]:
    """A message with placeholders for its words. White space at the ends stays outside: templates trim it."""
    parts: list[dict[str, str]] = []
    for part in message.content:
        if isinstance(part, Image):
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
        return {"role": message.role, "content": parts}
    return {"role": message.role, "content": "".join(part["text"] for part in parts)}


def _joined(messages: Sequence[Message]) -> list[Message]:
    joined: list[Message] = []
    for m in messages:
        last = joined[-1] if joined else None
        if last is not None and last.role == m.role and not (m.tool_calls or m.tool_call_id or last.tool_calls):
            joined[-1] = Message(m.role, (*last.content, "\n\n", *m.content))
        else:
            joined.append(m)
    return joined


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _name(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
