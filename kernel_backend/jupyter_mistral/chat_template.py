"""What a chat template is rendered around: messages whose words are placeholders, and what a model folder says of it.

The engine makes token ids of what is rendered (`engine/text/template.py`), the context room counts its words (`context/tokenizer/template.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .protocol.conversation import ToolCall

PLACE = re.compile("\ue000([0-9]+)\ue001")
# for a call that came without one: nine letters and digits, on which templates of Mistral's insist
NO_ID = "aB3dE6gH9"


class Turn(NamedTuple):
    """A message: content in reading order, what is no text being a picture; the calls that the model asked for, or the call
    that this is the answer to."""

    role: str
    content: Sequence[Any]
    calls: Sequence[ToolCall] = ()
    call_id: str = ""


class Placed(NamedTuple):
    """What a template takes, `\\ue000N\\ue001` in place of the text `texts[N]`."""

    messages: list[dict[str, Any]]
    tools: list[Any]
    texts: list[str]


def placed(turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]], controls: re.Pattern[str]) -> Placed:
    """controls: matches the names of control tokens, which words of calls and tools must not bring in."""
    texts: list[str] = []
    called = {call.id: call.name for turn in turns for call in turn.calls}
    messages = []
    for turn in turns:
        message = _message(turn, texts)
        if turn.calls:
            message["tool_calls"] = [_call(call, controls, texts) for call in turn.calls]
        if turn.call_id:
            message |= {"tool_call_id": turn.call_id, "name": called.get(turn.call_id, "")}
        messages.append(message)
    return Placed(messages, [_guarded(tool, controls, texts) for tool in tools], texts)


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours of one role as one message: many templates insist that user and assistant take turns."""
    found: list[Turn] = []
    for turn in turns:
        if found and found[-1].role == turn.role and not (turn.calls or turn.call_id or found[-1].calls):
            found[-1] = Turn(turn.role, [*found[-1].content, "\n\n", *turn.content])
        else:
            found.append(turn)
    return found


def _message(turn: Turn, texts: list[str]) -> dict[str, Any]:
    """White space at the ends of a text stays outside its placeholder: templates trim it."""
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
    """JSON in which words that hold the name of a control token are placeholders, as all words of messages are."""
    if isinstance(value, str):
        if "\ue000" not in value and not controls.search(value):
            return value
        texts.append(json.dumps(value, ensure_ascii=False)[1:-1])
        return f"\ue000{len(texts) - 1}\ue001"
    if isinstance(value, Mapping):
        return {_guarded(str(k), controls, texts): _guarded(v, controls, texts) for k, v in value.items()}
    return [_guarded(item, controls, texts) for item in value] if isinstance(value, list) else value


def source_of(folder: Path) -> str | None:
    """The chat template that lies in a model folder, in whichever file."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    told = read_json(folder / "chat_template.json").get("chat_template") or _settings(folder).get("chat_template")
    if isinstance(told, list):
        told = {entry["name"]: entry["template"] for entry in told}.get("default")
    return told if isinstance(told, str) else None


def names_of(folder: Path) -> dict[str, str]:
    """The tokens that templates call by their part, such as `bos_token`."""
    settings = _settings(folder)
    return {key: _name(settings.get(key)) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is no file."""
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _settings(folder: Path) -> dict[str, Any]:
    return read_json(folder / "tokenizer_config.json")


def _name(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
