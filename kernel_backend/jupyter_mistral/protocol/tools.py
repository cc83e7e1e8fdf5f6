"""What requests say of functions: `tools`, `tool_choice`, and the calls that earlier messages hold. Standard library only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from .checks import as_list, as_object, flag, schema, text, wrong
from .conversation import MAX_TOOLS, Tool, ToolCall
from .failures import Failure
from .requests import Calling

LONGEST_DESCRIPTION = 16384
LONGEST_ARGUMENTS = 2**20
_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")
_ID = re.compile("[a-zA-Z0-9]{9}")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def parse_calling(body: Mapping[str, Any]) -> Calling:
    """Raises `Failure` that names the field."""
    tools = tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(as_list(body, "tools", MAX_TOOLS)))
    parallel = flag(body, "parallel_tool_calls", default=True)
    choice = body.get("tool_choice")
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise Failure("bad_request", "Two tools have the same name.", "Rename one.", "tools")
    if choice in (None, "auto", "none"):
        return Calling(tools, choice or "auto", parallel=parallel) if tools else Calling()
    if not tools:
        raise Failure("bad_request", "tool_choice asks for a tool, but there are none.", "Send tools.", "tool_choice")
    if choice in ("required", "any"):  # Mistral's own word is `any`
        return Calling(tools, "required", parallel=parallel)
    return Calling(tools, "required", _only(choice, names), parallel)


def _only(choice: Any, names: set[str]) -> str:
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise wrong("tool_choice", "none, auto, required or one function")
    name = as_object(choice.get("function"), "tool_choice.function").get("name")
    if not isinstance(name, str) or name not in names:
        raise wrong("tool_choice.function.name", "the name of one of the tools")
    return name


def _tool(data: Any, where: str) -> Tool:
    data = as_object(data, where)
    if data.get("type", "function") != "function":
        raise wrong(f"{where}.type", "function")
    for field in data.keys() - {"type", "function"}:
        raise Failure("bad_request", f"Unknown field {where}.{field[:80]}.", "Leave it out.", where)
    function = as_object(data.get("function"), f"{where}.function")
    for field in function.keys() - {"name", "description", "parameters", "strict"}:
        raise Failure("bad_request", f"Unknown field {where}.function.{field[:80]}.", "Leave it out.", where)
    flag(function, "strict")  # arguments always follow the schema
    name = _name(function.get("name"), f"{where}.function.name")
    described = text(function, "description", LONGEST_DESCRIPTION)
    if function.get("parameters") in (None, {}):
        return Tool(name, described)
    parameters = schema(function["parameters"], f"{where}.function.parameters")
    if parameters.get("type", "object") != "object":
        raise wrong(f"{where}.function.parameters.type", "object")
    return Tool(name, described, parameters)


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise wrong(where, "1 to 64 letters, digits, _ or -")
    return value


def parse_calls(data: Mapping[str, Any], where: str) -> tuple[ToolCall, ...]:
    """The calls of an assistant's message."""
    calls = as_list(data, "tool_calls", MAX_TOOLS)
    return tuple(_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls))


def _call(data: Any, where: str) -> ToolCall:
    data = as_object(data, where)
    if data.get("type") not in (None, "function"):
        raise wrong(f"{where}.type", "function")
    function = as_object(data.get("function"), f"{where}.function")
    name = _name(function.get("name"), f"{where}.function.name")
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, dict):  # Mistral's clients send the object itself
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str) or len(arguments) > LONGEST_ARGUMENTS:
        raise wrong(f"{where}.function.arguments", "JSON text")
    return ToolCall(short_id(text(data, "id", 256)), name, arguments)


def short_id(given: str) -> str:
    """Nine letters and digits, which Mistral's templates insist on: the id itself, or what always stands for it."""
    if not given or _ID.fullmatch(given):
        return given
    number = int.from_bytes(hashlib.sha256(given.encode("utf-8", "replace")).digest()[:8], "big")
    letters = ""
    for _ in range(9):
        number, digit = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[digit]
    return letters
