"""Messages, the tools that a model may call, and its calls. Standard library only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .images import Image

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
MAX_MESSAGES = 1000
MAX_TOOLS = 128
_ID = re.compile("[a-zA-Z0-9]{9}")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Tool:
    """A function that the model may call. parameters: the JSON schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's object, which chat templates expect too."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolCall:
    """A call by the model. id: nine letters and digits if it is ours. arguments: JSON text."""

    id: str
    name: str
    arguments: str

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Message:
    """One message: text and images in reading order. With the role `tool`, it is the result of the call `tool_call_id`."""

    role: Role
    content: tuple[str | Image, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.content if isinstance(part, Image))

    def to_dict(self) -> dict[str, Any]:
        body = {"role": self.role, "content": self._content()}
        if self.tool_calls:
            body["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return body | ({"tool_call_id": self.tool_call_id} if self.tool_call_id else {})

    def _content(self) -> Any:
        if not self.images:
            return self.text
        return [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": part.to_url()}}
            for part in self.content
        ]


def short_id(call_id: str) -> str:
    """Nine letters and digits, which Mistral's templates require: the id itself, or one that is derived from it."""
    if not call_id or _ID.fullmatch(call_id):
        return call_id
    number = int.from_bytes(hashlib.sha256(call_id.encode("utf-8", "replace")).digest()[:8], "big")
    letters = ""
    for _ in range(9):
        number, digit = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[digit]
    return letters
