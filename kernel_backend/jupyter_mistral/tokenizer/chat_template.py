"""Render a conversation with the chat template of a model folder, with placeholders in place of the users' texts.

The engine turns the result into token ids (`engine/text/prompt_tokenizer.py`), `context/token_counts.py` counts it. Both put the texts in
afterwards, so that no text can become a control token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol.conversation import ToolCall
from ..protocol.failures import Failure
from .model_files import chat_template_source, special_tokens

if TYPE_CHECKING:
    from jinja2 import Template

PLACEHOLDER = re.compile("\ue000([0-9]+)\ue001")
# for a call without an id: nine letters and digits, which Mistral's templates require
NO_ID = "aB3dE6gH9"


class Turn(NamedTuple):
    """A message. content: in reading order; a part that is not a string is an image. call_id: the call that it answers."""

    role: str
    content: Sequence[Any]
    calls: Sequence[ToolCall] = ()
    call_id: str = ""


class Rendered(NamedTuple):
    """The text of a prompt with a placeholder `\\ue000N\\ue001` for each of `texts`."""

    text: str
    texts: list[str]


class ChatTemplate:
    """The chat template of a model folder. controls: a pattern that matches the names of the model's control tokens."""

    def __init__(self, folder: Path, controls: re.Pattern[str]) -> None:
        self._controls = controls
        self.source = chat_template_source(folder)
        self._special_tokens = special_tokens(folder)

    def render(
        self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]] = (), *, add_generation_prompt: bool = True
    ) -> Rendered:
        """Render a conversation. Raises `Failure` if there is no template, or if it refuses the conversation."""
        from jinja2 import TemplateError

        if self.source is None:
            message = "The model has no chat template; it can only complete text."
            raise Failure("unsupported", message, "Load an instruct model.")
        try:
            return self._render(turns, tools, add_generation_prompt)
        except TemplateError:
            pass
        try:
            return self._render(merge_neighbours(turns), tools, add_generation_prompt)
        except TemplateError as error:
            message = f"The model does not accept this conversation: {error}."
            raise Failure("bad_request", message, "Reorder the messages.") from None

    def _render(
        self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]], add_generation_prompt: bool
    ) -> Rendered:
        from .sandbox import variables

        texts: list[str] = []
        called = {call.id: call.name for turn in turns for call in turn.calls}
        messages = []
        for turn in turns:
            message = _message(turn, texts)
            if turn.calls:
                message["tool_calls"] = [_call(call, self._controls, texts) for call in turn.calls]
            if turn.call_id:
                message |= {"tool_call_id": turn.call_id, "name": called.get(turn.call_id, "")}
            messages.append(message)
        guarded = [_guarded(tool, self._controls, texts) for tool in tools]
        values: dict[str, Any] = {"messages": messages, "tools": guarded or None, "documents": None}
        values["add_generation_prompt"] = add_generation_prompt
        return Rendered(self._template.render(variables(**values, **self._special_tokens)), texts)

    @cached_property
    def _template(self) -> Template:
        from jinja2 import TemplateError

        from .sandbox import Sandbox

        def refuse(message: str) -> None:
            raise TemplateError(message)

        environment = Sandbox()
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
        return environment.from_string(self.source or "")


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def merge_neighbours(turns: Sequence[Turn]) -> list[Turn]:
    """Consecutive messages of one role as one: many templates require user and assistant to alternate."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role and not (turn.calls or turn.call_id or merged[-1].calls):
            merged[-1] = Turn(turn.role, [*merged[-1].content, "\n\n", *turn.content])
        else:
            merged.append(turn)
    return merged


def _message(turn: Turn, texts: list[str]) -> dict[str, Any]:
    """White space at the ends of a text stays outside its placeholder, because templates trim it."""
    parts: list[dict[str, str]] = []
    for part in turn.content:
        if not isinstance(part, str):
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
        return {"role": turn.role, "content": parts}
    return {"role": turn.role, "content": "".join(part["text"] for part in parts)}


def _call(call: ToolCall, controls: re.Pattern[str], texts: list[str]) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = call.arguments
    function = {"name": call.name, "arguments": _guarded(arguments, controls, texts)}
    return {"id": call.id or NO_ID, "type": "function", "function": function}


def _guarded(value: Any, controls: re.Pattern[str], texts: list[str]) -> Any:
    """JSON with a placeholder for each string that contains the name of a control token."""
    if isinstance(value, str):
        if "\ue000" not in value and not controls.search(value):
            return value
        texts.append(json.dumps(value, ensure_ascii=False)[1:-1])
        return f"\ue000{len(texts) - 1}\ue001"
    if isinstance(value, Mapping):
        return {_guarded(str(k), controls, texts): _guarded(v, controls, texts) for k, v in value.items()}
    return [_guarded(item, controls, texts) for item in value] if isinstance(value, list) else value
