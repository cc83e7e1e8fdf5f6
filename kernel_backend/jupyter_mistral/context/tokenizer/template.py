"""Messages -> the text of a whole prompt, by the chat template of a model folder, without torch: the engine's twin.

The engine's own (`engine/text/template.py`) gives token ids; this one the words around placeholders, so that a prompt can be
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

from ...chat_template import Placed, Turn, joined, names_of, placed, source_of
from ...protocol.conversation import Message
from ...protocol.failures import Failure

if TYPE_CHECKING:
    from jinja2 import Template


class ChatTemplate:
    """The template that lies in `folder`; without one the texts simply follow each other. controls: matches control tokens."""

    def __init__(self, folder: Path, controls: re.Pattern[str]) -> None:
        self._folder, self._controls = folder, controls

    def rendered(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[str, list[str]]:
        """The prompt's words with a placeholder `\\ue000N\\ue001` for each text, and the texts. Raises `bad_request`."""
        from jinja2 import TemplateError

        turns = [Turn(m.role, m.content, m.tool_calls, m.tool_call_id) for m in messages]
        found = placed(turns, tools, self._controls)
        try:
            return self._render(found), found.texts
        except TemplateError:
            found = placed(joined(turns), tools, self._controls)
        try:
            return self._render(found), found.texts
        except TemplateError as error:
            raise Failure(
                "bad_request", f"The model takes no such conversation: {error}.", "Reorder the messages."
            ) from None

    def _render(self, given: Placed) -> str:
        if self._template is None:
            return "".join(_text(m["content"]) for m in given.messages)
        from .sandbox import variables

        return self._template.render(
            variables(
                messages=given.messages,
                tools=given.tools or None,
                documents=None,
                add_generation_prompt=True,
                **self._names,
            )
        )

    @cached_property
    def _template(self) -> Template | None:
        from jinja2 import TemplateError

        from .sandbox import Sandbox

        def refuse(message: str) -> None:
            raise TemplateError(message)

        source = source_of(self._folder)
        if source is None:
            return None
        environment = Sandbox()
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
        return environment.from_string(source)

    @cached_property
    def _names(self) -> dict[str, str]:
        return names_of(self._folder)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
